//! Recognition of whole recordings: the words and times of the published script, however the sound is cut.

#![allow(clippy::unwrap_used)] // a failure is the test's answer

use std::sync::Arc;

use moshi_audio::load as load_audio;
use moshi_checkpoint::{OpenOptions, Repository, Source};
use moshi_engine::{EngineError, Sessions};
use moshi_model::{
    LoadOptions, Sound, Transcriber, Transcript, TranscriptWord, TranscriptionSession, Understood, WholeTranscription,
    captions, load_model,
};
use moshi_testkit::Golden;

const GOLDEN: Golden = Golden::TINY_STT;

fn open(rows: usize) -> (Sessions, Arc<Transcriber>) {
    let repository = Repository::open(&Source::Folder(GOLDEN.path("")), &OpenOptions::default(), &mut ()).unwrap();
    let loaded = load_model(&repository, "tiny", &LoadOptions { exact: true, ..LoadOptions::default() }).unwrap();
    (Sessions::with_rows_per_engine(loaded.model, rows), loaded.transcriber.unwrap())
}

/// The reference's words, which are the transcript's to a millisecond, and its text.
fn assert_is_the_reference(found: &Transcript) {
    let meta = GOLDEN.meta().unwrap();
    let words = meta["words"].as_array().unwrap();
    assert_eq!(found.words.len(), words.len());
    for (found, word) in found.words.iter().zip(words) {
        assert_eq!(found.text, word["text"].as_str().unwrap());
        for (found, key) in [(found.start, "start"), (found.stop, "stop")] {
            assert!((found - word[key].as_f64().unwrap()).abs() < 1e-3, "{} {key}: {found}", word["text"]);
        }
    }
    assert_eq!(found.text, meta["text"].as_str().unwrap());
}

#[test]
fn a_recording_gives_the_words_of_the_reference_in_any_pieces() {
    let (sessions, transcriber) = open(1);
    let pcm = load_audio(&GOLDEN.path("speech.wav")).unwrap().pcm;
    for piece in [777, 1_920, 10_000, pcm.len()] {
        let mut session = TranscriptionSession::open(&sessions, &transcriber).unwrap();
        let mut found = Transcript::default();
        let mut tokens = Vec::new();
        for pcm in pcm.chunks(piece) {
            let mut understood = Understood::default();
            session.step(pcm, &mut understood, &mut || true).unwrap();
            tokens.extend_from_slice(&understood.tokens);
            found.add(understood);
        }
        let mut rest = Understood::default();
        session.finish(&mut rest).unwrap();
        tokens.extend_from_slice(&rest.tokens);
        found.add(rest);
        assert_is_the_reference(&found);
        assert_eq!(tokens, GOLDEN.results().unwrap().i32("text_tokens").unwrap());
        assert!(session.step(&pcm[..1_920], &mut Understood::default(), &mut || true).is_err(), "it is finished");
    }
}

#[test]
fn codes_are_heard_as_they_are() {
    let (sessions, transcriber) = open(1);
    let results = GOLDEN.results().unwrap();
    let (codes, tokens) = (results.i32("codes").unwrap(), results.i32("text_tokens").unwrap());
    let frames = tokens.len();
    let mut session = TranscriptionSession::open(&sessions, &transcriber).unwrap();
    let mut out = Understood::default();
    for frame in 0..frames {
        let codes: Vec<i32> = (0..8).map(|q| codes[q * frames + frame]).collect();
        session.step_codes(&codes, &mut out).unwrap();
    }
    session.finish(&mut out).unwrap();
    assert_eq!(out.tokens, tokens);
    assert_eq!(out.heads.len(), frames * 4 * 6);
    let mut found = Transcript::default();
    found.add(out);
    assert_is_the_reference(&found);
}

#[test]
fn a_file_is_read_piece_by_piece_and_several_share_a_batch() {
    let (sessions, transcriber) = open(4);
    let read = || {
        let sound = Sound::file(&GOLDEN.path("speech.wav")).unwrap();
        let mut file = WholeTranscription::open(sound, &sessions, &transcriber).unwrap();
        let mut found = Transcript::default();
        loop {
            let mut piece = Understood::default();
            let more = file.advance(&mut piece, &mut || true).unwrap();
            found.add(piece);
            if !more {
                break;
            }
        }
        let sound = file.sound();
        assert!((sound.position() - sound.duration().unwrap()).abs() < 0.01 && sound.warning().is_none());
        found
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(read)).collect();
        threads.into_iter().for_each(|thread| assert_is_the_reference(&thread.join().unwrap()));
    });
}

#[test]
fn whoever_stops_it_stops_it_between_two_frames_and_it_can_begin_anew() {
    let (sessions, transcriber) = open(1);
    let pcm = load_audio(&GOLDEN.path("speech.wav")).unwrap().pcm;
    let mut session = TranscriptionSession::open(&sessions, &transcriber).unwrap();
    let mut left = 3;
    let stopped = session.step(&pcm, &mut Understood::default(), &mut || {
        left -= 1;
        left > 0
    });
    assert_eq!(stopped, Err(EngineError::Stopped));
    session.reset().unwrap();
    let mut out = Understood::default();
    session.step(&pcm, &mut out, &mut || true).unwrap();
    session.finish(&mut out).unwrap();
    let mut found = Transcript::default();
    found.add(out);
    assert_is_the_reference(&found);
}

fn word(text: &str, start: f64, stop: f64) -> TranscriptWord {
    TranscriptWord { text: text.to_owned(), start, stop }
}

#[test]
fn captions_are_cut_at_sentences_silences_and_what_fits_two_lines() {
    let words = [
        word("It", 0.0, 0.24),
        word("rains.", 0.24, 1.2),
        word("We", 1.28, 1.5),
        word("wait", 1.5, 1.52),
        word("<b>&", 3.0, 3.2),
    ];
    let expected = "1\n00:00:00,000 --> 00:00:01,200\nIt rains.\n\n2\n00:00:01,280 --> 00:00:02,080\nWe wait\n\n\
                    3\n00:00:03,000 --> 00:00:03,800\n<b>&\n\n";
    assert_eq!(captions::srt(&words), expected);
    let vtt = captions::vtt(&words);
    assert!(vtt.starts_with("WEBVTT\n\n00:00:00.000 --> 00:00:01.200\nIt rains.\n\n"), "{vtt}");
    assert!(vtt.contains("\n&lt;b&gt;&amp;\n"), "{vtt}");
    assert_eq!(captions::vtt(&[]), "WEBVTT\n\n");
    let many: Vec<_> = (0..60).map(|i| word("letters", 0.1 * f64::from(i), 0.1 * f64::from(i + 1))).collect();
    let cues = captions::cues(&many);
    assert!(cues.iter().all(|cue| cue.lines.len() <= 2 && cue.lines.iter().all(|line| line.len() <= 42)));
    assert!(cues.windows(2).all(|pair| pair[0].stop <= pair[1].start));
    assert_eq!(cues.iter().map(|cue| cue.lines.join(" ").split(' ').count()).sum::<usize>(), 60);
}
