//! A call over no wire at all: what a transport has to do, and what it gets.

use std::sync::Arc;
use std::time::Duration;

use moshi_audio::FRAME_SAMPLES;
use moshi_engine::{EngineConfig, SessionParams, SessionSpec};
use moshi_protocol::CloseReason;

use super::*;
use crate::engine_thread::{EngineHandle, EngineThread, Session};
use crate::metrics::Metrics;
use crate::model::ModelHost;
use crate::shutdown::ShutdownControl;

/// A house without a door: the engine, its waiting line, and its end.
struct House {
    thread: EngineThread,
    engine: EngineHandle,
    admission: Admission,
    metrics: Arc<Metrics>,
    control: ShutdownControl,
}

impl House {
    async fn open(places: usize, room: usize) -> Self {
        let metrics = Arc::new(Metrics::new("test", "0").unwrap());
        let of_thread = Arc::clone(&metrics);
        let start = move || EngineThread::start(ModelHost::loopback(), places, EngineConfig::default(), of_thread);
        let (thread, engine) = tokio::task::spawn_blocking(start).await.unwrap().unwrap();
        let (control, line) = (ShutdownControl::new(), WaitingLine::new(room, Arc::clone(&metrics)));
        let admission = Admission::new(engine.clone(), line, control.shutdown(), Arc::clone(&metrics));
        Self { thread, engine, admission, metrics, control }
    }

    async fn admit(&self, may_wait: bool) -> Result<Admitted, NotAdmitted> {
        self.admission.admit(SessionSpec::live(SessionParams::default()), may_wait).await
    }

    async fn close(self) {
        tokio::task::spawn_blocking(move || self.thread.stop()).await.unwrap();
    }
}

#[tokio::test]
async fn a_wire_hands_over_frames_and_gets_voice_words_and_an_ending() {
    let house = House::open(1, 0).await;
    let Ok(Admitted { turn: Turn::Now(Session { input, events }), guard }) = house.admit(true).await else {
        panic!("there is a place")
    };
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::of_call(Some(folder.path()), &house.metrics, &guard);
    let pulse = Pulse::new();
    let call = CallInput::new(&input, &pulse, recorder.clone(), &house.metrics);
    let mut events = CallEvents::new(&house.engine, events, recorder, Some(3));
    let mut pacer = Pacer::new(Pace::full_duplex(8));
    // The echo is one frame behind.
    pacer.push(pulse.elapsed(), &[0.5; 4 * FRAME_SAMPLES]);
    while let Some(frame) = pacer.take(pulse.elapsed()) {
        call.hear(frame).await.unwrap();
    }
    let mut voice = Vec::new();
    let ending = loop {
        match tokio::time::timeout(Duration::from_secs(9), events.next()).await.unwrap() {
            Ok(Said::Voice(pcm)) => voice.extend(pcm),
            Ok(Said::Words(_) | Said::Lost { .. } | Said::Token { .. } | Said::Primed) => {}
            Err(ending) => break ending,
        }
    };
    assert_eq!((ending.label(), voice.len()), ("finished", 3 * FRAME_SAMPLES), "it ends after three frames");
    assert!(voice.iter().all(|sample| *sample == 0.5), "and hears itself");
    drop((call, events));
    drop((input, guard));
    house.control.finish(Duration::from_secs(9), Duration::from_secs(9)).await;
    let files = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, 2, "both voices and the words are on disk once nobody holds the house open");
    tokio::task::spawn_blocking(move || house.thread.stop()).await.unwrap();
}

#[tokio::test]
async fn who_finds_no_place_waits_where_that_is_wanted_and_is_told_why_where_not() {
    let house = House::open(1, 1).await;
    let Ok(first) = house.admit(false).await else { panic!("there is a place") };
    let refused = house.admit(false).await.err().unwrap();
    assert_eq!((refused.name(), refused.to_string().contains("all 1 places")), ("full", true), "{refused}");
    let Ok(Admitted { turn: Turn::Later(ticket), .. }) = house.admit(true).await else { panic!("there is a line") };
    assert_eq!(ticket.position(), 1);
    assert_eq!(house.admit(true).await.err().unwrap().name(), "full", "and it is full");
    drop(first);
    assert_eq!(house.admit(false).await.err().unwrap().name(), "full", "nobody overtakes");
    drop(ticket);
    assert!(house.admit(false).await.is_ok());
    house.control.shutdown().give_up();
    assert_eq!(house.admit(true).await.err().unwrap().name(), "shutting_down");
    assert!(house.metrics.render().contains("moshi_sessions_refused_total{reason=\"full\"} 3"));
    house.close().await;
}

#[tokio::test]
async fn a_call_whose_engine_has_ended_ends_too() {
    let house = House::open(1, 0).await;
    let Ok(Admitted { turn: Turn::Now(Session { input, events }), guard: _guard }) = house.admit(false).await else {
        panic!("there is a place")
    };
    let (engine, metrics) = (house.engine.clone(), Arc::clone(&house.metrics));
    house.close().await;
    let pulse = Pulse::new();
    let call = CallInput::new(&input, &pulse, None, &metrics);
    let frame = DueFrame { pcm: vec![0.0; FRAME_SAMPLES], since: Duration::ZERO, spoken: true };
    assert_eq!(call.hear(frame).await, Err(Ending::because(CloseReason::Internal)));
    let ending = CallEvents::new(&engine, events, None, None).next().await.unwrap_err();
    assert_eq!(ending, Ending::because(CloseReason::Internal));
}
