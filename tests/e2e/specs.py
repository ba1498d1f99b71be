"""A small pool and a small search, for real detectors on images of 64 pixels."""

HEAD = {
    "head_channels": 32,
    "anchor_scale": 4,
    "finest_roi_scale": 16,
    "num_proposals": 50,
    "sampled_rois": 32,
}
POOL = {
    "name": "teachers",
    "dataset": "shapes",
    "space": {
        "depths": [[1, 2], [1], [1], [1]],
        "widths": [[1.0, 1.5]] * 4,
        "neck_channels": [16, 24],
        "resolutions": ["64x64"],
        "base_channels": 8,
    },
    "head": HEAD,
    "phases": [
        {
            "name": "supernet",
            "min_depths": [2, 1, 1, 1],
            "min_width": 1.5,
            "learning_rate": 0.02,
            "epochs": 1,
            "distil": False,
        },
        {
            "name": "shrink",
            "min_depths": [1, 1, 1, 1],
            "min_width": 1.0,
            "learning_rate": 0.01,
            "epochs": 1,
            "distil": True,
        },
    ],
    "training": {"batch_size": 4, "resolutions": ["64x64"], "warmup_iterations": 0},
    "bn_reset_images": 8,
    "evaluated_subnets": 2,
}
TRAINING = {"epochs": 2, "batch_size": 4, "resolutions": ["48x48", "64x64"]}
SEARCH = {
    "name": "first",
    "dataset": "shapes",
    "pool": "teachers",
    "base": {"base_channels": 8, "training": {**TRAINING, "learning_rate": 0.02}},
    "head": {**HEAD, "neck_channels": 16},
    "trial": {**TRAINING, "epochs": 1, "bn_l1": 1e-5},
    "strategy": {
        "student_frozen_trials": 1,
        "student_probability": 1.0,
        "min_channels": 2,
        "teach_by_weaker": True,  # all APs are near 0
    },
    "score": {"base_resolution": "64x64"},
    "budget": {"max_trials": 4, "finish": {"detectors": 2, "epochs": 2}},
    "resources": {"trials_in_flight": 2},
}
ONE_AT_A_TIME = {"trials_in_flight": 1}
"""Resources of runs in which a second worker would only take time to start."""
