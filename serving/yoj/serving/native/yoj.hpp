// C++17 interface of yoj over yoj.h: scorers that free themselves, and errors as exceptions.

#ifndef YOJ_HPP
#define YOJ_HPP

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "yoj.h"

namespace yoj {

// Error of a call, with its text.
class Error : public std::runtime_error {
public:
    explicit Error(int code) : std::runtime_error(yoj_last_error()), code_(code) {}
    int code() const noexcept { return code_; }                   // one of YOJ_ERROR_...
    const char *kind() const noexcept { return yoj_kind(code_); }

private:
    int code_;
};

// What loading may be told; an empty text or 0 is the default. See yoj_options.
struct Options {
    std::string engine, precision, media_root;
    std::int32_t threads = 0;
};

// Scores of one request, in the order of its responses. See yoj_result.
struct Scores {
    std::vector<float> scores, probabilities;
    std::size_t best = 0;
    bool calibrated = false;
    int notices = 0;
};

// Loaded bundle. Safe to use from several threads. A scorer that was moved from gives errors of the kind "handle".
class Scorer {
public:
    explicit Scorer(const std::string &bundle, const Options &options = {}) {
        const auto given = [](const std::string &text) { return text.empty() ? nullptr : text.c_str(); };
        const yoj_options plain{given(options.engine), given(options.precision), given(options.media_root),
                                options.threads};
        check(yoj_load(YOJ_ABI, bundle.c_str(), &plain, &scorer_));
    }
    ~Scorer() {
        if (scorer_ != 0) yoj_free(scorer_);
    }
    Scorer(Scorer &&other) noexcept : scorer_(std::exchange(other.scorer_, 0)) {}
    Scorer &operator=(Scorer &&other) noexcept {
        std::swap(scorer_, other.scorer_);
        return *this;
    }
    Scorer(const Scorer &) = delete;
    Scorer &operator=(const Scorer &) = delete;

    // Judgement in JSON of a request in JSON.
    std::string score(const std::string &request) const {
        char *text = nullptr;
        check(yoj_score(scorer_, request.c_str(), &text));
        const std::unique_ptr<char, decltype(&yoj_free_text)> owned(text, &yoj_free_text);
        return text;
    }

    // Scores of texts and pictures that are in memory.
    Scores score(const std::string &prompt, const std::vector<std::string> &responses,
                 const std::vector<yoj_image> &images = {}) const {
        std::vector<const char *> texts;
        for (const auto &response : responses) texts.push_back(response.c_str());
        Scores found{std::vector<float>(texts.size()), std::vector<float>(texts.size())};
        const yoj_request request{prompt.c_str(), texts.data(), texts.size(), images.data(), images.size()};
        yoj_result result{found.scores.data(), found.probabilities.data(), 0, 0, 0};
        check(yoj_score_rgb(scorer_, &request, &result));
        found.best = static_cast<std::size_t>(result.best);
        found.calibrated = result.calibrated != 0;
        found.notices = result.notices;
        return found;
    }

private:
    static void check(int code) {
        if (code != YOJ_OK) throw Error(code);
    }
    yoj_scorer scorer_ = 0;
};

}  // namespace yoj

#endif
