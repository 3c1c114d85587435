"""Results as a run of the bench would find them."""

from __future__ import annotations

from typing import Any

import msgspec

from yoj.bench._results import (
    BenchModel,
    Cost,
    GraphProfile,
    JudgeResult,
    Load,
    MachineLimits,
    Peak,
    Point,
    RequestShape,
    Results,
    Saving,
    Start,
    Sweep,
    Time,
    VariantResult,
)

EAGER = "PyTorch eager, as the YOJO code"
COMPILED = "PyTorch compiled"
ENGINE = "yoj onnxruntime"
ENGINE_INT8 = "yoj onnxruntime int8"
BROKEN = "PyTorch eager bfloat16"
SHAPE = RequestShape(B=1, L=1050, N=8, P=600, R=56, V=196, threads=2)


def time(median: float, spread: float = 0.02) -> Time:
    return Time(median=median, low=median * (1 - spread), high=median * (1 + spread), runs=21)


def variant(name: str, median: float, **changes: Any) -> VariantResult:
    of = {
        "name": name,
        "vendor": "yoj" if name.startswith("yoj") else "PyTorch",
        "precision": "float32",
        "strategy": "packed",
        "time": time(median),
        "difference": 3e-6,
        "allowed": 1e-5,
        "agrees": True,
        "work": 4e11,
        "share": 0.61,
    }
    return VariantResult(**(of | changes))


def sweep(name: str, places: tuple[float, ...], size: str) -> Sweep:
    rates = {EAGER: 130.0, COMPILED: 104.0, ENGINE: 88.0, ENGINE_INT8: 41.0}
    return Sweep(
        name=name,
        points=tuple(
            Point(
                variant=of,
                x=x,
                shape=msgspec.structs.replace(SHAPE, **{size: int(x)}, L=600 + 56 * int(x)),
                time=time(rate * (5 + x), 0.04),
                agrees=(of, x) != (COMPILED, places[-1]),
            )
            for of, rate in rates.items()
            for x in places
        ),
    )


def judge(name: str = "Qwen3-VL, three layers", **changes: Any) -> JudgeResult:
    of = {
        "model": BenchModel(name=name, family="qwen3_vl", parameters=404_200_000, layers=3, D=2560),
        "shape": SHAPE,
        "variants": (
            variant(BROKEN, 400.0, precision="bfloat16", difference=0.4, allowed=0.2, agrees=False),
            variant(EAGER, 1700.0),
            variant(COMPILED, 1400.0),
            variant(f"{EAGER}, separate passes", 6900.0, strategy="separate"),
            variant(ENGINE, 1200.0, share=0.83),
            variant(ENGINE_INT8, 530.0, precision="int8", difference=0.08, allowed=1.0, share=None),
        ),
        "phases": {
            EAGER: {"decode": 4.5, "preprocess": 31.0, "pack": 2.0, "vision": 310.0, "gather": 3.0, "scorer": 1350.0},
            ENGINE: {
                "decode": 4.5,
                "preprocess": 16.0,
                "pack": 1.1,
                "tokenise": 0.8,
                "vision": 240.0,
                "gather": 0.4,
                "scorer": 938.0,
            },
        },
        "savings": tuple(
            Saving(
                N=n, P=600, R=56, predicted=n * 656 / (600 + 56 * n), measured=0.95 * n * 656 / (600 + 56 * n), engine=n
            )
            for n in (2, 4, 8, 16, 32)
        ),
        "sweeps": (sweep("N", (1, 2, 4, 8, 16, 32), "N"), sweep("batch", (1, 2, 4), "B")),
        "starts": (
            Start(
                bundle="judge.yoj",
                precision="float32",
                import_s=0.11,
                load_s=0.93,
                first_score_s=1.6,
                resident=2_100_000_000,
                weights=1_600_000_000,
                bundle_size=1_617_000_000,
            ),
        ),
        "profiles": (
            GraphProfile(
                variant=ENGINE,
                graph="scorer",
                costs=(
                    Cost(operator="MatMul", milliseconds=820.0, share=0.87, tried="prepacked weights: 1.00 times"),
                    Cost(operator="Softmax", milliseconds=50.0, share=0.05, tried=""),
                    Cost(operator="Transpose", milliseconds=9.0, share=0.01, tried=""),
                ),
            ),
        ),
        "load": tuple(
            Load(
                variant=of,
                offered=rate,
                served=rate * 0.99,
                requests=400,
                p50=slow * (1 + rate**2),
                p95=2 * slow * (1 + rate**2),
                p99=3 * slow * (1 + rate**2),
            )
            for of, slow in ((EAGER, 1700.0), (ENGINE, 1200.0))
            for rate in (0.1, 0.2, 0.4, 0.6)
        ),
    }
    return JudgeResult(**(of | changes))


def results(*judges: JudgeResult, **changes: Any) -> Results:
    of = {
        "environment": {
            "machine": "x86_64",
            "cpu": "Some CPU",
            "cores": 2,
            "python": "3.11.9",
            "torch": "2.13.0",
            "onnxruntime": "1.31.1",
            "transformers": "5.23.0",
            "date": "2026-01-02",
        },
        "limits": MachineLimits(
            peaks=(
                Peak(precision="float32", flops=1.6e11, by="PyTorch"),
                Peak(precision="int8", flops=5.1e11, by="ONNX Runtime"),
            ),
            copied=1.9e10,
        ),
        "judges": judges or (judge(),),
    }
    return Results(**(of | changes))


def bare(name: str = "bare") -> JudgeResult:
    """A judge of which nothing was asked."""
    return judge(name, variants=(), phases={}, savings=(), sweeps=(), starts=(), profiles=(), load=())
