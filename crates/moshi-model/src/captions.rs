//! Words with times as captions: SubRip (`.srt`) and WebVTT (`.vtt`).
//!
//! Words are gathered into cues that a reader can follow: two lines of at most 42 letters, at most six seconds, a new cue
//! after a sentence that has gone on for a second and after a silence. (The numbers are those of common guidelines for
//! subtitles.)

use std::fmt::Write;

use crate::TranscriptWord;

/// Letters of a line.
const LINE: usize = 42;
/// Lines of a cue.
const LINES: usize = 2;
/// Longest cue, in seconds.
const LONGEST: f64 = 6.0;
/// Shortest time that a cue stays, where the next one leaves it that long.
const SHORTEST: f64 = 0.8;
/// A silence that ends a cue, in seconds.
const SILENCE: f64 = 1.0;

/// Words that are shown together.
#[derive(Debug, Clone, PartialEq)]
pub struct Cue {
    /// When it appears, in seconds.
    pub start: f64,
    /// When it goes.
    pub stop: f64,
    /// Its lines.
    pub lines: Vec<String>,
}

/// Gathers words into cues.
pub fn cues(words: &[TranscriptWord]) -> Vec<Cue> {
    let mut cues: Vec<Cue> = Vec::new();
    let mut previous: Option<&TranscriptWord> = None;
    for word in words {
        let cue = cues.last_mut().zip(previous).filter(|(cue, previous)| goes_on(cue, previous, word));
        match cue.map(|(cue, _)| cue) {
            Some(cue) => add(cue, word),
            None => cues.push(Cue { start: word.start, stop: word.stop, lines: vec![word.text.clone()] }),
        }
        previous = Some(word);
    }
    stay(&mut cues);
    cues
}

/// Words as SubRip.
pub fn srt(words: &[TranscriptWord]) -> String {
    let mut text = String::new();
    for (i, cue) in cues(words).iter().enumerate() {
        let (start, stop) = (time(cue.start, ','), time(cue.stop, ','));
        // Writing to a string cannot fail.
        let _ = write!(text, "{}\n{start} --> {stop}\n{}\n\n", i + 1, cue.lines.join("\n"));
    }
    text
}

/// Words as WebVTT.
pub fn vtt(words: &[TranscriptWord]) -> String {
    let mut text = "WEBVTT\n\n".to_owned();
    for cue in cues(words) {
        let (start, stop) = (time(cue.start, '.'), time(cue.stop, '.'));
        let lines = cue.lines.join("\n").replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = write!(text, "{start} --> {stop}\n{lines}\n\n");
    }
    text
}

/// Whether a word belongs to the cue of the one before it.
fn goes_on(cue: &Cue, previous: &TranscriptWord, word: &TranscriptWord) -> bool {
    let sentence = previous.text.ends_with(['.', '!', '?', '…']) && cue.stop - cue.start >= SILENCE;
    let fits = cue.lines.len() < LINES || fits_line(cue, word);
    fits && !sentence && word.start - previous.stop < SILENCE && word.stop - cue.start <= LONGEST
}

fn fits_line(cue: &Cue, word: &TranscriptWord) -> bool {
    cue.lines.last().is_none_or(|line| line.chars().count() + 1 + word.text.chars().count() <= LINE)
}

fn add(cue: &mut Cue, word: &TranscriptWord) {
    let fits = fits_line(cue, word);
    match cue.lines.last_mut().filter(|_| fits) {
        Some(line) => {
            line.push(' ');
            line.push_str(&word.text);
        }
        None => cue.lines.push(word.text.clone()),
    }
    cue.stop = cue.stop.max(word.stop);
}

/// Lets short cues stay until the next one comes, and none longer than that.
fn stay(cues: &mut [Cue]) {
    for i in 0..cues.len() {
        let next = cues.get(i + 1).map_or(f64::INFINITY, |cue| cue.start);
        let cue = &mut cues[i];
        cue.stop = cue.stop.max(cue.start + SHORTEST).min(next.max(cue.start));
    }
}

/// Hours, minutes, seconds and milliseconds.
fn time(seconds: f64, point: char) -> String {
    let ms = (seconds.max(0.0) * 1_000.0).round() as u64;
    format!("{:02}:{:02}:{:02}{point}{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000)
}
