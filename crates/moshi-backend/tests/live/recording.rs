//! Recordings survive the death of the process, and are complete where it ends in order.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common::{FRAME, FRAME_TIME, signal};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

/// The program itself, recording into `folder`; and where it listens.
fn program(folder: &Path) -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_moshi-backend"))
        .args(["standalone", "--model", "loopback", "--port", "0", "--max-sessions", "2", "--record-dir"])
        .arg(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let url = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("open http").map(str::to_owned)).unwrap();
    (child, format!("ws{url}/api/chat?format=pcm"))
}

/// The voices of a wav file: the caller's and the agent's.
fn voices(wav: &Path) -> (Vec<i16>, Vec<i16>) {
    let mut wav = hound::WavReader::open(wav).unwrap();
    assert_eq!((wav.spec().channels, wav.spec().sample_rate), (2, 24_000));
    let samples: Vec<i16> = wav.samples::<i16>().map(Result::unwrap).collect();
    let voice = |at: usize| samples.iter().skip(at).step_by(2).copied().collect::<Vec<i16>>();
    (voice(0), voice(1))
}

fn samples(frames: &[Vec<u8>]) -> Vec<i16> {
    frames.concat().chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect()
}

fn only(folder: &Path, extension: &str) -> PathBuf {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[tokio::test]
async fn a_killed_process_leaves_all_of_the_call_but_the_last_second() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, url) = program(folder.path());
    let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let (mut sink, mut source) = socket.split();
    let hearing = tokio::spawn(async move { while let Some(Ok(_)) = source.next().await {} });
    let frames = signal(5, 50);
    let mut clock = tokio::time::interval(FRAME_TIME);
    for frame in &frames {
        clock.tick().await;
        sink.send(Message::Binary([&[1], frame.as_slice()].concat().into())).await.unwrap();
    }
    // SIGKILL: nothing of the program runs after it.
    child.kill().unwrap();
    child.wait().unwrap();
    hearing.abort();

    let (caller, agent) = voices(&only(folder.path(), "wav"));
    assert!(caller.len() >= 38 * FRAME, "{} of 4 seconds are there", caller.len());
    let sent = samples(&frames);
    assert_eq!(caller, sent[..caller.len()], "the caller's voice, exactly");
    let answer = &agent[FRAME..];
    assert_eq!(answer, &sent[..answer.len()], "the answer, in its place one frame later");

    let words = std::fs::read_to_string(only(folder.path(), "jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = words.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!lines.is_empty() && lines.iter().all(|l| l["text"].as_str().is_some_and(|t| !t.is_empty())), "{words}");
    assert!(lines.windows(2).all(|pair| pair[0]["at_ms"].as_u64() <= pair[1]["at_ms"].as_u64()), "{words}");
}

#[cfg(unix)]
#[tokio::test]
async fn an_orderly_end_loses_nothing_of_a_call_that_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, url) = program(folder.path());
    let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let (mut sink, mut source) = socket.split();
    let frames = signal(6, 10);
    let mut clock = tokio::time::interval(FRAME_TIME);
    for frame in &frames {
        clock.tick().await;
        sink.send(Message::Binary([&[1], frame.as_slice()].concat().into())).await.unwrap();
    }
    let mut replies = 0;
    while replies < 9 {
        let message = source.next().await.unwrap().unwrap().into_data();
        replies += usize::from(message.first() == Some(&1));
    }
    // Nobody reads the output of the program any more, and what was said last is younger than the latest flush.
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    while let Some(Ok(_)) = source.next().await {}
    assert!(child.wait().unwrap().success());

    let (caller, agent) = voices(&only(folder.path(), "wav"));
    let sent = samples(&frames);
    assert!(caller.starts_with(&sent), "the caller's voice to its end: {} of {} samples", caller.len(), sent.len());
    let answer = &sent[..9 * FRAME];
    let begin = agent.windows(FRAME).position(|window| window == &answer[..FRAME]).expect("the answer is there");
    assert!(agent[begin..].starts_with(answer), "the answer to its end: {} samples", agent.len() - begin);
}
