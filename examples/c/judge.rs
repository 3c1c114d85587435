//! Scores answers to a question: judge BUNDLE PROMPT RESPONSE...

use std::ffi::{c_char, c_int, CStr, CString};
use std::ptr::null;

const YOJ_ABI: u32 = 1;

#[repr(C)]
struct Image {
    pixels: *const u8,
    width: i32,
    height: i32,
    stride: i64,
}

#[repr(C)]
struct Request {
    prompt: *const c_char,
    responses: *const *const c_char,
    n_responses: usize,
    images: *const Image,
    n_images: usize,
}

#[repr(C)]
struct Found {
    scores: *mut f32,
    probabilities: *mut f32,
    best: i32,
    calibrated: i32,
    notices: i32,
}

/// Options of yoj.h, of which this program takes the defaults.
type Options = std::ffi::c_void;

#[link(name = "yoj")]
extern "C" {
    fn yoj_load(abi: u32, bundle: *const c_char, options: *const Options, scorer: *mut u64) -> c_int;
    fn yoj_score_rgb(scorer: u64, request: *const Request, found: *mut Found) -> c_int;
    fn yoj_free(scorer: u64) -> c_int;
    fn yoj_last_error() -> *const c_char;
}

/// The result of a call, or the text of its error, which is this thread's.
fn check(code: c_int) -> Result<(), String> {
    match code {
        0 => Ok(()),
        _ => Err(unsafe { CStr::from_ptr(yoj_last_error()) }.to_string_lossy().into_owned()),
    }
}

/// A loaded bundle, which is freed when it goes out of scope.
struct Scorer(u64);

struct Scores {
    scores: Vec<f32>,
    probabilities: Vec<f32>,
    best: usize,
}

impl Scorer {
    fn load(bundle: &CStr) -> Result<Scorer, String> {
        let mut number = 0;
        check(unsafe { yoj_load(YOJ_ABI, bundle.as_ptr(), null(), &mut number) })?;
        Ok(Scorer(number))
    }

    fn score(&self, prompt: &CStr, responses: &[CString]) -> Result<Scores, String> {
        let texts: Vec<_> = responses.iter().map(|text| text.as_ptr()).collect();
        let (mut scores, mut probabilities) = (vec![0.0; texts.len()], vec![0.0; texts.len()]);
        let request = Request {
            prompt: prompt.as_ptr(),
            responses: texts.as_ptr(),
            n_responses: texts.len(),
            images: null(),
            n_images: 0,
        };
        let mut found = Found {
            scores: scores.as_mut_ptr(),
            probabilities: probabilities.as_mut_ptr(),
            best: 0,
            calibrated: 0,
            notices: 0,
        };
        check(unsafe { yoj_score_rgb(self.0, &request, &mut found) })?;
        Ok(Scores { scores, probabilities, best: found.best as usize })
    }
}

impl Drop for Scorer {
    fn drop(&mut self) {
        unsafe { yoj_free(self.0) };
    }
}

fn run(arguments: &[CString]) -> Result<(), String> {
    let [bundle, prompt, responses @ ..] = arguments else {
        return Err("usage: judge BUNDLE PROMPT RESPONSE...".to_string());
    };
    let found = Scorer::load(bundle)?.score(prompt, responses)?;
    for (k, response) in responses.iter().enumerate() {
        let mark = if k == found.best { " (best)" } else { "" };
        println!("{} {} {}{mark}", found.scores[k], found.probabilities[k], response.to_string_lossy());
    }
    Ok(())
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).map(|text| CString::new(text).unwrap()).collect();
    if let Err(text) = run(&arguments) {
        eprintln!("{text}");
        std::process::exit(1);
    }
}
