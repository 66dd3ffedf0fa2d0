"""Vision-language-action models: bundles on disk, back ends that run them, and their adaptation (stage 1)."""
