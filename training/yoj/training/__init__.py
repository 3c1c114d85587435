"""Training of multi-response reward models: LoRA and a value head over a base model, packed as the runtime packs.

Recipe -> samples -> packs -> judge -> checkpoint in the adapter layout of the YOJO code.
"""
