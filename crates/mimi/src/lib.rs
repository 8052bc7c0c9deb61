//! Mimi, the streaming neural codec: 24 kHz audio to 12.5 frames of codes a second and back.
