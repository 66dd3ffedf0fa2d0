"""A plug-in for `lerobot-train`: faster reading, relative actions for every policy, frozen eyes that cost nothing.

    PYTHONPATH=. lerobot-train --dataset.discover_packages_path=rlt_ros.vla.lerobot_plugin --num_workers=0 ...

LeRobot imports every module here. Workers of its data loader are processes that no plug-in reaches: hence none.
"""
