//! Audio files, resampling, Ogg Opus streams and the PCM framer.
