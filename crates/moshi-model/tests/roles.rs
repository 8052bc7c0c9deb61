//! Voices and roles from files and words: the prompts and codes of the reference.

#![allow(clippy::unwrap_used)] // a failure is the test's answer

use std::path::Path;
use std::sync::Arc;

use moshi_checkpoint::{OpenOptions, Repository, Source};
use moshi_engine::{EngineError, Forced, Prompt, SessionParams, SessionSpec, Sessions};
use moshi_model::{LoadOptions, Loaded, Roles, load_model};
use moshi_testkit::Golden;

const GOLDEN: Golden = Golden::TINY_PERSONAPLEX;

fn load(folder: &Path) -> (Loaded, Arc<Roles>) {
    let repository = Repository::open(&Source::Folder(folder.to_owned()), &OpenOptions::default(), &mut ()).unwrap();
    let loaded = load_model(&repository, "tiny", &LoadOptions { exact: true, ..LoadOptions::default() }).unwrap();
    let roles = loaded.roles.clone().unwrap();
    (loaded, roles)
}

fn role() -> String {
    GOLDEN.meta().unwrap()["role"].as_str().unwrap().to_owned()
}

fn prompt(roles: &Roles, voice: &str, role: &str) -> Result<Prompt, EngineError> {
    roles.prompt(Some(Path::new(voice)), role, &mut || true)
}

/// What a greedy session with this prompt says to the reference's caller.
fn say(loaded: &Loaded, prompt: Prompt) -> Vec<i32> {
    let greedy = SessionParams { temperature: 0.0, text_temperature: 0.0, ..SessionParams::default() };
    let spec = SessionSpec { prompt: Some(Arc::new(prompt)), ..SessionSpec::lossless(greedy) };
    let mut session = Sessions::new(loaded.model.clone()).open(spec).unwrap();
    let codes = GOLDEN.results().unwrap().i32("user_codes").unwrap();
    let frames = codes.len() / 8;
    let user = |frame: usize| (0..8).map(|q| codes[q * frames + frame]).collect::<Vec<i32>>();
    (0..frames).filter_map(|frame| session.step_codes(&user(frame)).unwrap()).flatten().collect()
}

#[test]
fn a_voice_by_name_or_path_and_a_role_in_words_give_the_calls_of_the_reference() {
    let (loaded, roles) = load(&GOLDEN.path(""));
    assert_eq!(roles.voices().names(), ["VARF0", "VARM0"]);
    let results = GOLDEN.results().unwrap();
    for (run, voice) in [("wav", "VARM0"), ("wav", "VARM0.wav"), ("pt", "VARF0")] {
        let said = say(&loaded, prompt(&roles, voice, &role()).unwrap());
        // The published program reads a column later: its first frame is the last of the prompt.
        let expected = &results.i32(&format!("{run}_out_tokens")).unwrap()[9..];
        assert_eq!(said[..expected.len()], *expected, "{voice}");
    }
    let path = GOLDEN.path("voices/VARM0.wav");
    let mut by_path = roles.prompt(Some(&path), &role(), &mut || true).unwrap();
    assert_eq!(by_path, prompt(&roles, "VARM0", &format!("<system> {} <system>", role())).unwrap());
    // The first frame of a prompt is never read: what the reference writes is what the second step on forces.
    let agent = results.i32("prompt_agent").unwrap();
    by_path.frames.pop();
    for (frame, codes) in by_path.frames.iter().zip(agent.chunks_exact(8).skip(1)) {
        let said: Vec<Forced> = codes.iter().map(|code| Forced::Token(*code)).collect();
        assert_eq!(frame.said[1..], said);
    }
}

#[test]
fn a_voice_is_encoded_once_until_its_file_changes() {
    let (_loaded, roles) = load(&GOLDEN.path(""));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.wav");
    std::fs::copy(GOLDEN.path("voices/VARM0.wav"), &file).unwrap();
    let mut asked = 0;
    let mut prompt = |roles: &Roles| {
        let before = asked;
        let prompt = roles.prompt(Some(&file), "", &mut || {
            asked += 1;
            true
        });
        (prompt.unwrap(), asked - before)
    };
    let (first, encoded) = prompt(&roles);
    assert!(encoded >= 19);
    assert_eq!(prompt(&roles), (first.clone(), 0));
    std::fs::copy(GOLDEN.path("speech.wav"), &file).unwrap();
    let (other, encoded) = prompt(&roles);
    assert!(encoded > 0 && other != first);
}

#[test]
fn a_voice_or_role_that_cannot_be_is_told() {
    let (_loaded, roles) = load(&GOLDEN.path(""));
    let folder = tempfile::tempdir().unwrap();
    let refused = |voice: &str, role: &str| prompt(&roles, voice, role).unwrap_err().to_string();
    let unknown = refused("NATF7", "");
    assert!(unknown.contains("NATF7") && unknown.contains("VARF0, VARM0"), "{unknown}");
    assert!(refused("../voices/VARM0", "").contains("no such file"));
    let long = refused("VARM0", &"guide ".repeat(100_000));
    assert!(long.contains("shorten"), "{long}");
    let text = folder.path().join("text.pt");
    std::fs::write(&text, "no voice").unwrap();
    let no_voice = refused(text.to_str().unwrap(), "");
    assert!(no_voice.contains("expected a voice"), "{no_voice}");
    let short = folder.path().join("short.wav");
    moshi_audio::save(&short, &[0.1; 2_400]).unwrap();
    let short = refused(short.to_str().unwrap(), "");
    assert!(short.contains("0.4 s") && short.contains("short.wav"), "{short}");
    // Whoever brings neither has an ordinary beginning of silence.
    assert_eq!(roles.prompt(None, "", &mut || true).unwrap().frames.len(), 12);
    let stopped =
        prompt(&roles, "VARM0", "").and_then(|_| roles.prompt(Some(&GOLDEN.path("speech.wav")), "", &mut || false));
    assert_eq!(stopped, Err(EngineError::Stopped));
}

#[test]
fn a_voice_of_another_model_is_refused() {
    let (_loaded, roles) = load(&Golden::TINY_MOSHI.path(""));
    let refused = roles.prompt(Some(&GOLDEN.path("voices/VARF0.pt")), "", &mut || true).unwrap_err().to_string();
    assert!(refused.contains("width 64"), "{refused}");
}
