//! Reading aloud: every golden run of synthesis through the engine, alone and among others, with text that comes in pieces.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use moshi_checkpoint::{OpenOptions, Repository, Source};
use moshi_engine::{
    Engine, EngineConfig, EngineError, Input, ModelInfo, Output, Pace, ReadingSpec, SessionEvent, SessionId,
    SessionSpec, Sessions, WordEvent, Words,
};
use moshi_model::{
    LoadOptions, Loaded, ReadTurn, ReadingVoice, ReadingWish, Sound, WholeReading, load_model, speaker_voices,
    spoken_prefix, voice_file, voice_names,
};
use moshi_testkit::{Golden, assert_close};
use serde_json::Value;

use super::{codes, events, greedy, run, sound};

pub(crate) const RUNS: [&str; 6] = ["distilled", "one_voice", "few_codebooks", "guided", "prefix_guided", "prefix"];

pub(crate) fn meta(name: &str) -> Value {
    Golden::TINY_TTS.meta().unwrap()["runs"][name].clone()
}

/// The model of a run: a folder of its own with the run's configuration as config.json.
pub(crate) fn model(config: &str) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(Golden::TINY_TTS.path("")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() && entry.file_name() != "config.json" {
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
    }
    std::fs::copy(Golden::TINY_TTS.path(config), folder.path().join("config.json")).unwrap();
    let source = Source::Folder(folder.path().to_owned());
    let repository = Repository::open(&source, &OpenOptions::default(), &mut ()).unwrap();
    load_model(&repository, config, &LoadOptions { exact: true, ..LoadOptions::default() }).unwrap()
}

/// What the session of a run is.
pub(crate) fn spec(loaded: &Loaded, name: &str) -> SessionSpec {
    let (run, info) = (meta(name), loaded.model.info());
    let files: Vec<PathBuf> =
        run["voices"].as_array().unwrap().iter().map(|file| Golden::TINY_TTS.path(file.as_str().unwrap())).collect();
    let wish = ReadingWish {
        voice: ReadingVoice::Files(files),
        guidance: Some(run["cfg"].as_f64().unwrap() as f32),
        codebooks: Some(run["n_q"].as_u64().unwrap() as usize),
        padding_between: run["padding_between"].as_u64().unwrap() as u32,
        tells_codes: true,
        ..ReadingWish::new(greedy().sampling)
    };
    wish.spec(info, &*loaded.codec, &mut || true).unwrap()
}

fn turns(name: &str) -> Vec<String> {
    meta(name)["script"].as_array().unwrap().iter().map(|turn| turn.as_str().unwrap().to_owned()).collect()
}

pub(crate) fn read(engine: &mut Engine, id: SessionId, name: &str) {
    for (speaker, text) in turns(name).iter().enumerate() {
        engine.push(Duration::ZERO, id, Input::Words(Words { speaker, ..Words::new(text) })).unwrap();
    }
    engine.push(Duration::ZERO, id, Input::End).unwrap();
}

fn house(loaded: &Loaded, rows: usize) -> Engine {
    Engine::new(loaded.model.new_rows(rows).unwrap(), EngineConfig::default())
}

fn words(out: &[Output], id: SessionId) -> Vec<(String, f64)> {
    let word = |event: &&SessionEvent| match event {
        SessionEvent::Word(WordEvent::Started { text, start }) => Some((text.clone(), *start)),
        _ => None,
    };
    events(out, id).iter().filter_map(word).collect()
}

/// That a session said what the reference says: codes of every frame, words with times, sound where the reference has it.
pub(crate) fn assert_golden(out: &[Output], id: SessionId, name: &str) {
    let (run, results) = (meta(name), Golden::TINY_TTS.results().unwrap());
    let streams = 1 + run["n_q"].as_u64().unwrap() as usize;
    let told: Vec<i32> = codes(out, id).chunks_exact(9).flat_map(|frame| frame[..streams].to_vec()).collect();
    assert_eq!(told, results.i32(&format!("{name}_tokens")).unwrap(), "{name}");
    let expected: Vec<(String, f64)> = run["words"]
        .as_array()
        .unwrap()
        .iter()
        .map(|word| (word["text"].as_str().unwrap().to_owned(), word["start"].as_f64().unwrap()))
        .collect();
    let found = words(out, id);
    assert_eq!(
        found.iter().map(|(text, _)| text).collect::<Vec<_>>(),
        expected.iter().map(|(text, _)| text).collect::<Vec<_>>()
    );
    assert!(found.iter().zip(&expected).all(|((_, found), (_, start))| (found - start).abs() < 1e-3), "{found:?}");
    if let Ok(pcm) = results.f32(&format!("{name}_pcm")) {
        assert_close(name, &sound(out, id), &pcm, 1e-3);
    }
    assert_eq!(events(out, id).last(), Some(&&SessionEvent::Ended), "{name}");
}

#[test]
fn every_golden_run_is_read_as_the_reference_reads_it() {
    for name in RUNS {
        let loaded = model(meta(name)["config"].as_str().unwrap());
        let mut engine = house(&loaded, 2);
        // The second has the row of the first.
        for _ in 0..2 {
            let id = engine.open(spec(&loaded, name)).unwrap();
            read(&mut engine, id, name);
            assert_golden(&run(&mut engine), id, name);
        }
    }
}

#[test]
fn readings_of_one_batch_have_the_bits_they_have_alone() {
    for (config, names) in [
        ("config.json", vec!["distilled", "one_voice", "few_codebooks", "one_voice"]),
        ("config_guided.json", vec!["guided", "guided"]),
        ("config_prefix.json", vec!["prefix", "prefix_guided", "prefix"]),
    ] {
        let loaded = model(config);
        let mut engine = house(&loaded, names.len());
        let ids: Vec<SessionId> = names.iter().map(|name| engine.open(spec(&loaded, name)).unwrap()).collect();
        // Each begins at another moment, and one more vanishes on the way.
        let mut out = Vec::new();
        for (id, name) in ids.iter().zip(&names) {
            read(&mut engine, *id, name);
            (0..5).for_each(|_| drop(engine.tick(Duration::ZERO, &mut out).unwrap()));
        }
        out.extend(run(&mut engine));
        ids.iter().zip(&names).for_each(|(id, name)| assert_golden(&out, *id, name));
    }
}

/// Text by text, letter by letter, with a step wherever one is possible: the same as in one piece.
#[test]
fn text_that_comes_while_it_is_read_is_read_the_same() {
    let loaded = model("config.json");
    let (mut engine, name) = (house(&loaded, 1), "distilled");
    let id = engine.open(spec(&loaded, name)).unwrap();
    let mut out = Vec::new();
    for (speaker, text) in turns(name).iter().enumerate() {
        for letter in text.chars() {
            let text = letter.to_string();
            engine.push(Duration::ZERO, id, Input::Words(Words { speaker, ..Words::new(&text) })).unwrap();
            out.extend(run(&mut engine));
        }
    }
    let wanted = events(&out, id).iter().filter(|event| matches!(event, SessionEvent::WordsWanted)).count();
    assert!(wanted > 3, "it waited for words {wanted} times");
    engine.push(Duration::ZERO, id, Input::End).unwrap();
    out.extend(run(&mut engine));
    assert_golden(&out, id, name);
}

#[test]
fn a_reading_that_is_asked_for_steps_takes_no_more() {
    let loaded = model("config.json");
    let mut engine = house(&loaded, 1);
    let asked = SessionSpec { pace: Pace::Asked, ..spec(&loaded, "one_voice") };
    let id = engine.open(asked).unwrap();
    read(&mut engine, id, "one_voice");
    let mut out = run(&mut engine);
    assert_eq!(events(&out, id), [&SessionEvent::Opened]);
    for step in 1..=12 {
        engine.push(Duration::ZERO, id, Input::Steps(1)).unwrap();
        out.extend(run(&mut engine));
        // The longest delay is two steps.
        assert_eq!(codes(&out, id).len(), 9 * (step - 2_usize.min(step)));
    }
    engine.push(Duration::ZERO, id, Input::Steps(1_000)).unwrap();
    out.extend(run(&mut engine));
    assert_golden(&out, id, "one_voice");
}

#[test]
fn what_cannot_be_read_is_refused_where_it_is_given_and_changes_nothing() {
    let loaded = model("config.json");
    let mut engine = house(&loaded, 2);
    let ids = [(); 2].map(|()| engine.open(spec(&loaded, "one_voice")).unwrap());
    let words = |text: &str| format!("{text} ").repeat(60_000);
    let endless = words("a");
    for (text, expected) in [("one <break time=\"x\"/>", "no break"), (&endless, "50000")] {
        let refused = engine.push(Duration::ZERO, ids[0], Input::Words(Words::new(text))).unwrap_err();
        assert!(matches!(&refused, EngineError::Input(_)) && refused.to_string().contains(expected), "{refused}");
    }
    let refused = engine.push(Duration::ZERO, ids[0], Input::Audio(&[0.0; 10])).unwrap_err().to_string();
    assert!(refused.contains("reads aloud"), "{refused}");
    ids.iter().for_each(|id| read(&mut engine, *id, "one_voice"));
    let out = run(&mut engine);
    ids.iter().for_each(|id| assert_golden(&out, *id, "one_voice"));
}

#[test]
fn a_voice_of_another_model_and_numbers_that_it_does_not_know_are_refused() {
    let loaded = model("config.json");
    let info: &ModelInfo = loaded.model.info();
    let file = |name: &str| vec![Golden::TINY_TTS.path(name)];
    let other = speaker_voices(info, &file("voices/bob.wav.4d3c2b1a@241.safetensors")).unwrap_err().to_string();
    assert!(other.contains("another model (4d3c2b1a@241") && other.contains(".a1b2c3d4@240.safetensors"), "{other}");
    assert!(speaker_voices(info, &file("voices/bob.wav")).is_ok(), "the file beside the sound");
    assert!(speaker_voices(info, &file("voices/nobody.wav")).is_err());
    assert!(speaker_voices(info, &[]).is_err());
    assert!(spoken_prefix(info, &*loaded.codec, &[0.0; 24_000]).unwrap_err().to_string().contains("no spoken prefix"));
    let mut engine = house(&loaded, 1);
    let mut refused = |spec: SessionSpec| engine.admit(spec).unwrap_err().to_string();
    let good = || spec(&loaded, "one_voice");
    let cfg = refused(SessionSpec { guidance: Some(1.7), ..good() });
    assert!(cfg.contains("cfg is 1.7") && cfg.contains("1.5"), "{cfg}");
    let books = refused(SessionSpec { codebooks: Some(9), ..good() });
    assert!(books.contains("num_codebooks is 9") && books.contains("1 to 8"), "{books}");
    let prefix = ReadingSpec { prefix: Some(Arc::default()), ..ReadingSpec::default() };
    assert!(refused(SessionSpec { reading: prefix, ..good() }).contains("prefix"));
    assert!(engine.admit(good()).is_ok(), "the row is free");
}

/// Owners who wait for each step, on threads of their own, share the steps of one engine.
#[test]
fn a_reading_is_stepped_by_its_owner_and_waits_for_words() {
    let loaded = model("config.json");
    let (expected, spec) =
        (Golden::TINY_TTS.results().unwrap().f32("distilled_pcm").unwrap(), spec(&loaded, "distilled"));
    let sessions = Sessions::with_rows_per_engine(loaded.model.clone(), 3);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let mut session = sessions.read(&spec).unwrap();
            let expected = &expected;
            scope.spawn(move || {
                let (mut pcm, mut words) = (Vec::new(), 0);
                for (speaker, text) in turns("distilled").iter().enumerate() {
                    session.push(text, speaker).unwrap();
                    while let Some(step) = session.step().unwrap() {
                        words += step.words.len();
                        if step.pcm.is_empty() {
                            break; // it waits
                        }
                        pcm.extend(step.pcm);
                    }
                    assert!(session.step().unwrap().unwrap().pcm.is_empty(), "it still waits");
                }
                session.finish().unwrap();
                assert!(session.finish().is_err() && session.push("more", 0).is_err());
                while let Some(step) = session.step().unwrap() {
                    words += step.words.len();
                    pcm.extend(step.pcm);
                }
                assert_eq!((session.step().unwrap(), words), (None, 10));
                assert_close("sound", &pcm, expected, 1e-3);
            });
        }
    });
}

#[test]
fn a_whole_script_is_read_and_can_be_stopped_and_gone_on_with() {
    let loaded = model("config.json");
    let sessions = Sessions::with_rows_per_engine(loaded.model.clone(), 2);
    for name in ["distilled", "few_codebooks"] {
        let script: Vec<ReadTurn> =
            turns(name).into_iter().enumerate().map(|(speaker, text)| ReadTurn { speaker, text }).collect();
        let mut session = sessions.read(&spec(&loaded, name)).unwrap();
        let mut steps = 0;
        let mut thrice = || {
            steps += 1;
            steps <= 3
        };
        assert_eq!(WholeReading::read(&mut session, &script, &mut thrice), Err(EngineError::Stopped));
        let mut tokens = Vec::new();
        while let Some(step) = session.step().unwrap() {
            tokens.extend(step.codes);
        }
        let expected = Golden::TINY_TTS.results().unwrap().i32(&format!("{name}_tokens")).unwrap();
        assert_eq!(tokens, expected, "what was read before it was stopped is told");
        let mut session = sessions.read(&spec(&loaded, name)).unwrap();
        let whole = WholeReading::read(&mut session, &script, &mut || true).unwrap();
        assert_eq!(whole.tokens, expected);
        assert!(session.is_over() && session.push("more", 0).unwrap_err().to_string().contains("finished before"));
    }
}

/// A word that comes in pieces is known to be none when it is over.
#[test]
fn what_can_never_be_completed_is_dropped_and_the_text_goes_on() {
    let loaded = model("config.json");
    let sessions = Sessions::new(loaded.model.clone());
    let mut session = sessions.read(&spec(&loaded, "one_voice")).unwrap();
    for (piece, next) in [("\u{4e2d}", " more"), ("<break time=\"", "x\"/>")] {
        session.push(piece, 0).unwrap();
        assert!(session.push(next, 0).is_err());
    }
    session.push("<break time", 0).unwrap();
    assert!(session.finish().is_err());
    session.push(&turns("one_voice")[0][..5], 0).unwrap();
    assert!(session.push("\u{4e2d} ", 0).is_err(), "and what is good of a word stays");
    session.push(&turns("one_voice")[0][5..], 0).unwrap();
    session.finish().unwrap();
    let mut tokens = Vec::new();
    while let Some(step) = session.step().unwrap() {
        tokens.extend(step.codes);
    }
    assert_eq!(tokens, Golden::TINY_TTS.results().unwrap().i32("one_voice_tokens").unwrap());
}

#[test]
fn voices_are_found_and_the_rest_is_as_published() {
    let loaded = model("config.json");
    let mut info = loaded.model.info().clone();
    // Its repository was a folder for the test, and is gone.
    info.voices.as_mut().unwrap().folder = Some(Golden::TINY_TTS.path("voices"));
    assert_eq!(voice_names(&info), ["anna", "bob"]);
    let file = Golden::TINY_TTS.path("voices/bob.wav.a1b2c3d4@240.safetensors");
    for voice in ["bob", "bob.wav", "bob.wav.a1b2c3d4@240.safetensors"] {
        assert_eq!(voice_file(&info, voice.as_ref()).unwrap(), file);
        assert_eq!(voice_file(&info, &Golden::TINY_TTS.path("voices").join(voice)).unwrap(), file);
    }
    let refused = |voice: &str| voice_file(&info, voice.as_ref()).unwrap_err().to_string();
    assert!(refused("nobody").contains("anna, bob"));
    assert!(refused("../voices/bob").contains("a1b2c3d4@240"), "no name leads out of the folder");
    let sampling = greedy().sampling;
    let wish = |voice| ReadingWish { voice, ..ReadingWish::new(sampling) };
    let spec = wish(ReadingVoice::Any).spec(&info, &*loaded.codec, &mut || true).unwrap();
    assert_eq!((spec.guidance, spec.reading.padding_between, spec.codebooks), (Some(2.0), 1, None));
    let sound = wish(ReadingVoice::Sound(Sound::samples(vec![0.0; 48_000])));
    assert!(sound.spec(&info, &*loaded.codec, &mut || true).is_err());
    let prefix = model("config_prefix.json");
    let sound = wish(ReadingVoice::Sound(Sound::samples(vec![0.0; 48_000])));
    let spec = sound.spec(prefix.model.info(), &*prefix.codec, &mut || true).unwrap();
    assert_eq!(spec.reading.prefix.unwrap().codes.len(), 8 * 23);
    let stopped = wish(ReadingVoice::Sound(Sound::samples(vec![0.0; 480_000])));
    let stopped = stopped.spec(prefix.model.info(), &*prefix.codec, &mut || false);
    assert_eq!(stopped.unwrap_err(), EngineError::Stopped);
}
