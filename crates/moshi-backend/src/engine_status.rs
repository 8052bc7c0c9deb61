//! What the engine thread shows to everybody: its health, its pace, and how each call fares.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moshi_audio::FRAME_TIME;

use crate::call::Slots;
use crate::tick_window::{Percentiles, TickWindow};

/// Whether the engine thread runs and its model works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum EngineHealth {
    /// Both do.
    Well,
    /// The model failed and is being made again: nobody is admitted meanwhile.
    Restarting,
    /// The model is lost, or the thread has ended.
    Lost,
}

/// Written by the engine thread (and, when that is stuck, by the watchdog); read by anybody.
#[derive(Debug)]
pub struct EngineStatus {
    /// When the thread began; its times count from here.
    started: Instant,
    /// A [`EngineHealth`].
    health: AtomicU8,
    /// Whether the watchdog has given the thread up.
    stuck: AtomicBool,
    /// When the thread last showed a sign of life: milliseconds after `started`.
    beat: AtomicU64,
    /// Microseconds of the last tick.
    last_tick_us: AtomicU64,
    /// Frames waiting, over all calls.
    backlog: AtomicU64,
    ticks: TickWindow,
    slots: Slots,
}

impl EngineStatus {
    /// The status of a healthy engine with so many rows.
    pub(crate) fn new(rows: usize) -> Self {
        Self {
            started: Instant::now(),
            health: AtomicU8::new(EngineHealth::Well as u8),
            stuck: AtomicBool::new(false),
            beat: AtomicU64::new(0),
            last_tick_us: AtomicU64::new(0),
            backlog: AtomicU64::new(0),
            ticks: TickWindow::default(),
            slots: Slots::new(rows),
        }
    }

    /// Whether the thread runs and its model works.
    pub fn health(&self) -> EngineHealth {
        match self.health.load(Ordering::Acquire) {
            well if well == EngineHealth::Well as u8 => EngineHealth::Well,
            restarting if restarting == EngineHealth::Restarting as u8 => EngineHealth::Restarting,
            _ => EngineHealth::Lost,
        }
    }

    /// Whether the model works at this moment.
    pub fn healthy(&self) -> bool {
        self.health() == EngineHealth::Well
    }

    /// Whether the watchdog has given the engine up.
    pub fn stuck(&self) -> bool {
        self.stuck.load(Ordering::Acquire)
    }

    /// Duration of the last tick in milliseconds.
    pub fn last_tick_ms(&self) -> f64 {
        Duration::from_micros(self.last_tick_us.load(Ordering::Relaxed)).as_secs_f64() * 1e3
    }

    /// Frames waiting, over all calls.
    pub fn backlog(&self) -> u64 {
        self.backlog.load(Ordering::Relaxed)
    }

    /// When the engine thread began.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// How each call fares.
    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Percentiles of the latest ticks; `None` before the first.
    pub(crate) fn tick_percentiles(&self) -> Option<Percentiles> {
        self.ticks.percentiles()
    }

    /// Whether the latest half minute of ticks shows a machine that does not keep up with the calls it has.
    pub(crate) fn overloaded(&self) -> bool {
        self.ticks.is_full() && self.ticks.percentiles().is_some_and(|p| p.p95 > FRAME_TIME)
    }

    /// How long the thread has shown no sign of life.
    pub(crate) fn since_beat(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.beat.load(Ordering::Acquire)))
    }

    pub(crate) fn set_health(&self, health: EngineHealth) {
        self.health.store(health as u8, Ordering::Release);
    }

    pub(crate) fn give_up(&self) {
        self.stuck.store(true, Ordering::Release);
        self.set_health(EngineHealth::Lost);
    }

    pub(crate) fn beat(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat.store(now, Ordering::Release);
    }

    pub(crate) fn ticked(&self, took: Duration) {
        self.ticks.record(took);
        self.last_tick_us.store(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn set_backlog(&self, frames: u64) {
        self.backlog.store(frames, Ordering::Relaxed);
    }
}
