//! What the server counts, in the text format of Prometheus. docs/server.md explains every name.
//!
//! Each server has a recorder of its own, so that several in one process do not mix their numbers.

use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use moshi_audio::FRAME_TIME;

use crate::call::Slots;

/// Upper bounds for times, in seconds: fine between 20 and 80 ms, where it is decided whether a machine keeps up.
const TIME_BUCKETS: [f64; 32] = [
    0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.0065, 0.008, 0.01, 0.0125, 0.015, 0.0175, 0.02, 0.025, 0.03,
    0.035, 0.04, 0.045, 0.05, 0.055, 0.06, 0.065, 0.07, 0.075, 0.08, 0.1, 0.12, 0.16, 0.24, 0.4, 2.0,
];
/// Upper bounds for the number of rows in a step.
const ROW_BUCKETS: [f64; 10] = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0, 32.0, 64.0, 128.0];

/// Handles to every counter, and the recorder they count in.
pub struct Metrics {
    recorder: PrometheusRecorder,
    exporter: PrometheusHandle,
    /// Places.
    pub(crate) capacity: Gauge,
    /// Places taken.
    pub(crate) open: Gauge,
    /// Calls admitted.
    pub(crate) admitted: Counter,
    /// Frames waiting.
    pub(crate) backlog: Gauge,
    /// Calls that wait for a place.
    pub(crate) waiting: Gauge,
    /// Frames dropped by the lag policy.
    pub(crate) dropped_frames: Counter,
    /// Times that a player ran dry.
    pub(crate) underruns: Counter,
    /// Times that the model was made again.
    pub(crate) restarts: Counter,
    /// Times that the engine was found stuck.
    pub(crate) stalls: Counter,
    /// Recordings that could not be written on.
    pub(crate) lost_recordings: Counter,
    /// Calls closed because their queue of events overran.
    pub(crate) overruns: Counter,
    /// Connections closed because there were too many.
    pub(crate) refused_connections: Counter,
    /// Failures of the model.
    pub(crate) failures: Counter,
    /// From a frame's arrival to its reply.
    pub(crate) reply_lag: Histogram,
    /// The part of it that is not the model's step.
    pub(crate) added: Histogram,
    /// From joining the waiting line to a place.
    pub(crate) waited: Histogram,
    ticks: Histogram,
    steps: Histogram,
    step_rows: Histogram,
    frames: Counter,
    deadline_misses: Counter,
}

impl Metrics {
    /// A fresh set of counters.
    ///
    /// # Errors
    /// Never in practice: only an empty list of buckets is refused.
    pub fn new(instance: &str, version: &str) -> Result<Self, BuildError> {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &TIME_BUCKETS)?
            .set_buckets_for_metric(Matcher::Suffix("_rows".to_owned()), &ROW_BUCKETS)?
            .build_recorder();
        let exporter = recorder.handle();
        let metrics = metrics::with_local_recorder(&recorder, || {
            describe();
            let labels = [("instance_name", instance.to_owned()), ("version", version.to_owned())];
            gauge!("moshi_info", &labels).set(1.0);
            Handles::register()
        });
        Ok(metrics.into_metrics(recorder, exporter))
    }

    /// One step of the model over `rows` rows, and the whole tick around it, in which its events were handed out.
    pub(crate) fn ticked(&self, step: Duration, tick: Duration, rows: usize) {
        self.steps.record(step.as_secs_f64());
        self.ticks.record(tick.as_secs_f64());
        self.step_rows.record(gauge(rows));
        self.frames.increment(rows as u64);
        if tick > FRAME_TIME {
            self.deadline_misses.increment(1);
        }
    }

    /// Shows how each open call fares.
    pub(crate) fn show_calls(&self, slots: &Slots, start: Instant) {
        metrics::with_local_recorder(&self.recorder, || {
            for call in slots.ever_used(start) {
                let labels = [("place", call.place.to_string())];
                gauge!("moshi_call_lag_seconds", &labels).set(call.lag_ms / 1e3);
                gauge!("moshi_call_worst_lag_seconds", &labels).set(call.worst_lag_ms / 1e3);
                gauge!("moshi_call_frames_dropped", &labels).set(wide(call.dropped_frames));
                gauge!("moshi_call_underruns", &labels).set(wide(call.underruns));
            }
        });
    }

    /// A call was refused.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.count("moshi_sessions_refused_total", "reason", reason);
    }

    /// A call ended.
    pub(crate) fn closed(&self, reason: &'static str) {
        self.count("moshi_sessions_closed_total", "reason", reason);
    }

    /// A caller sent something that could not be used.
    pub(crate) fn bad_input(&self, kind: &'static str) {
        self.count("moshi_bad_input_total", "kind", kind);
    }

    fn count(&self, name: &'static str, label: &'static str, value: &'static str) {
        metrics::with_local_recorder(&self.recorder, || counter!(name, label => value).increment(1));
    }

    /// The text that `/metrics` answers.
    pub fn render(&self) -> String {
        self.exporter.render()
    }

    /// Moves recorded times into their buckets; without it they pile up until the next [`Metrics::render`].
    pub fn upkeep(&self) {
        self.exporter.run_upkeep();
    }
}

/// The handles alone, registered in the local recorder of the moment.
struct Handles {
    gauges: [Gauge; 4],
    counters: [Counter; 11],
    histograms: [Histogram; 6],
}

impl Handles {
    fn register() -> Self {
        Self {
            gauges: [
                gauge!("moshi_sessions_capacity"),
                gauge!("moshi_sessions_open"),
                gauge!("moshi_backlog_frames"),
                gauge!("moshi_sessions_waiting"),
            ],
            counters: [
                counter!("moshi_sessions_admitted_total"),
                counter!("moshi_frames_dropped_total"),
                counter!("moshi_output_overruns_total"),
                counter!("moshi_model_failures_total"),
                counter!("moshi_frames_total"),
                counter!("moshi_deadline_misses_total"),
                counter!("moshi_underruns_total"),
                counter!("moshi_model_restarts_total"),
                counter!("moshi_engine_stalls_total"),
                counter!("moshi_recordings_lost_total"),
                counter!("moshi_connections_refused_total"),
            ],
            histograms: [
                histogram!("moshi_reply_lag_seconds"),
                histogram!("moshi_step_seconds"),
                histogram!("moshi_step_rows"),
                histogram!("moshi_tick_seconds"),
                histogram!("moshi_waited_seconds"),
                histogram!("moshi_added_seconds"),
            ],
        }
    }

    fn into_metrics(self, recorder: PrometheusRecorder, exporter: PrometheusHandle) -> Metrics {
        let [capacity, open, backlog, waiting] = self.gauges;
        let [
            admitted,
            dropped_frames,
            overruns,
            failures,
            frames,
            misses,
            underruns,
            restarts,
            stalls,
            lost,
            connections,
        ] = self.counters;
        let [reply_lag, steps, step_rows, ticks, waited, added] = self.histograms;
        Metrics {
            recorder,
            exporter,
            capacity,
            open,
            admitted,
            backlog,
            waiting,
            dropped_frames,
            underruns,
            restarts,
            stalls,
            lost_recordings: lost,
            refused_connections: connections,
            overruns,
            failures,
            reply_lag,
            added,
            waited,
            ticks,
            steps,
            step_rows,
            frames,
            deadline_misses: misses,
        }
    }
}

/// A count as a gauge's value.
#[expect(clippy::cast_precision_loss, reason = "counts of calls and frames are far below 2^53")]
pub(crate) fn gauge(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "counts of one call are far below 2^53")]
fn wide(count: u64) -> f64 {
    count as f64
}

/// Every name, what it is, and what it means: the table of docs/server.md.
fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    for (name, meaning) in GAUGES {
        describe_gauge!(name, meaning);
    }
    for (name, meaning) in COUNTERS {
        describe_counter!(name, meaning);
    }
    for (name, meaning) in HISTOGRAMS {
        describe_histogram!(name, meaning);
    }
}

const GAUGES: [(&str, &str); 9] = [
    ("moshi_info", "1, with the instance's name and version as labels."),
    ("moshi_sessions_capacity", "Calls that fit at once."),
    ("moshi_sessions_open", "Calls that are open."),
    ("moshi_sessions_waiting", "Callers in the waiting line."),
    ("moshi_backlog_frames", "Frames of callers that wait to be heard."),
    ("moshi_call_lag_seconds", "Latest lag of the call in this place."),
    ("moshi_call_worst_lag_seconds", "Longest lag of the call in this place."),
    ("moshi_call_frames_dropped", "Frames of the call in this place that were dropped unheard."),
    ("moshi_call_underruns", "Times that the player of the call in this place ran dry."),
];

const COUNTERS: [(&str, &str); 14] = [
    ("moshi_sessions_admitted_total", "Calls admitted."),
    ("moshi_sessions_refused_total", "Calls refused, by reason."),
    ("moshi_sessions_closed_total", "Calls ended, by reason."),
    ("moshi_bad_input_total", "Messages or pieces of audio that could not be used, by kind."),
    ("moshi_frames_total", "Frames of 80 ms stepped, over all calls."),
    ("moshi_frames_dropped_total", "Frames dropped unheard because a call's backlog was too long."),
    ("moshi_underruns_total", "Times that a caller's player with 80 ms in reserve ran dry."),
    ("moshi_output_overruns_total", "Calls closed because the caller did not read."),
    ("moshi_deadline_misses_total", "Ticks that took longer than a frame, 80 ms."),
    ("moshi_model_failures_total", "Failures of the model, of one call or of all."),
    ("moshi_model_restarts_total", "Times that the model was made again after it had failed as a whole."),
    ("moshi_engine_stalls_total", "Times that the engine made no progress for too long."),
    ("moshi_connections_refused_total", "Connections closed unread because there were as many as there may be."),
    ("moshi_recordings_lost_total", "Recordings that ended before their call because they could not be written."),
];

const HISTOGRAMS: [(&str, &str); 6] = [
    ("moshi_tick_seconds", "Time of one tick: the step and handing out what came of it."),
    ("moshi_step_seconds", "Time of one step of the model over all its rows."),
    ("moshi_step_rows", "Calls that took part in one step."),
    ("moshi_reply_lag_seconds", "Time from a frame's arrival to its reply."),
    ("moshi_added_seconds", "What the server adds to a reply: its lag less the step that made it."),
    ("moshi_waited_seconds", "Time that an admitted caller spent in the waiting line."),
];
