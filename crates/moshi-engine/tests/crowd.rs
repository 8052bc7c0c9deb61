//! Many threads that open, step, copy, reset and drop sessions of two engines at once: nobody hangs, nobody hears anybody
//! else, and no row is left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure is the test's answer

mod scripted;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::time::Duration;

use moshi_engine::{
    EngineConfig, EngineError, FRAME_SAMPLES, Input, SessionEvent, SessionSpec, SharedEngine, StreamingSession,
};
use scripted::{POISON, Scripted, params};

const ROWS: usize = 12;
const THREADS: u64 = 6;
const ACTIONS: usize = 20_000;

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

/// What one thread does: it owns some sessions, and says its own number in all of them.
struct Talker {
    engines: [Arc<SharedEngine>; 2],
    value: f32,
    sessions: Vec<StreamingSession>,
    dice: Dice,
}

impl Talker {
    fn engine(&mut self) -> Arc<SharedEngine> {
        self.engines[self.dice.roll(2) as usize].clone()
    }

    fn act(&mut self) {
        let which = self.dice.roll(self.sessions.len().max(1) as u64) as usize;
        match self.dice.roll(10) {
            0 | 1 => {
                let (engine, prompt) = (self.engine(), self.dice.roll(3));
                let spec = SessionSpec { tail: 2, ..SessionSpec::lossless(params(prompt, 9)) };
                self.keep(StreamingSession::open(engine, spec));
            }
            2 if which < self.sessions.len() => drop(self.sessions.swap_remove(which)),
            3 if which < self.sessions.len() => {
                let target = self.engine();
                let fork = self.sessions[which].fork_into(target);
                self.keep(fork);
            }
            4 if which < self.sessions.len() => self.sessions[which].reset().unwrap(),
            5 if which < self.sessions.len() => {
                self.step(which, POISON).expect_err("poison");
                self.sessions[which].reset().unwrap();
            }
            6 if which < self.sessions.len() => {
                assert_eq!(
                    self.sessions[which].step_codes(&[self.value as i32, -1]),
                    Ok(Some(vec![self.value as i32, -1]))
                );
            }
            7 => self.call(),
            _ if which < self.sessions.len() => {
                let said = self.step(which, self.value).unwrap();
                assert_eq!(said, [self.value]);
            }
            _ => {}
        }
    }

    fn keep(&mut self, session: Result<StreamingSession, EngineError>) {
        match session {
            Ok(session) => self.sessions.push(session),
            Err(error) => assert_eq!(error, EngineError::Full { rows: ROWS }),
        }
    }

    fn step(&mut self, which: usize, value: f32) -> Result<Vec<f32>, EngineError> {
        let (mut pcm, mut text) = (Vec::new(), String::new());
        self.sessions[which].step(&[value; FRAME_SAMPLES], &mut pcm, &mut text)?;
        Ok(pcm.chunks(FRAME_SAMPLES).map(|frame| frame[0]).collect())
    }

    /// A session whose events are sent: sometimes it is waited for, sometimes left in the middle.
    fn call(&mut self) {
        let (engine, (send, sent)) = (self.engine(), channel());
        let opened = engine.open(SessionSpec::live(params(0, 0)), Box::new(move |output| send.send(output).is_ok()));
        let Ok(id) = opened else { return };
        engine.push(Duration::ZERO, id, Input::Audio(&[self.value; FRAME_SAMPLES])).unwrap();
        if self.dice.roll(2) == 0 {
            return engine.close(id);
        }
        engine.push(Duration::ZERO, id, Input::End).unwrap();
        for event in sent.iter().map(|output| output.event) {
            if let SessionEvent::Audio { pcm, .. } = event {
                assert_eq!(pcm[0], self.value);
            }
        }
    }
}

#[test]
fn a_crowd_leaves_no_row_behind() {
    let models = [Scripted::new(ROWS), Scripted::new(ROWS)];
    let counts = [models[0].counts(), models[1].counts()];
    let engines = models.map(|model| Arc::new(SharedEngine::new(Box::new(model), EngineConfig::default())));
    // Somebody drives for those who do not wait themselves.
    let drivers = engines
        .clone()
        .map(|engine| std::thread::spawn(move || while engine.turn(Duration::from_millis(5)).is_some() {}));
    let (tell, told) = channel();
    for thread in 1..=THREADS {
        let (tell, engines) = (tell.clone(), engines.clone());
        std::thread::spawn(move || {
            let dice = Dice(thread * 0x9e37_79b9_7f4a_7c15);
            let mut talker = Talker { engines, value: thread as f32, sessions: Vec::new(), dice };
            (0..ACTIONS).for_each(|_| talker.act());
            drop(talker.sessions);
            tell.send(thread).unwrap();
        });
    }
    drop(tell);
    let ended: Vec<u64> = (0..THREADS).map_while(|_| told.recv_timeout(Duration::from_secs(30)).ok()).collect();
    assert_eq!(ended.len() as u64, THREADS, "only {ended:?} came to an end");
    for engine in &engines {
        engine.stop();
    }
    drivers.into_iter().for_each(|driver| driver.join().unwrap());
    for (engine, counts) in engines.iter().zip(&counts) {
        // Whoever comes after the drivers clears up after them.
        drop(StreamingSession::open(engine.clone(), SessionSpec::default()).unwrap());
        assert_eq!((counts.open.load(Ordering::Relaxed), engine.metrics().open), (0, 0));
    }
}
