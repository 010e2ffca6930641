"""WGSL text: functions, the shader around them, and its own support functions."""
