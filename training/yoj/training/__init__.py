"""Trains multi-response reward models: LoRA and a value head over a base model, packed by the runtime that serves them.

Recipe -> samples -> packs -> judge -> checkpoint in the reference's adapter layout.
"""
