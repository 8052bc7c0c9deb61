//! What the server counts, in the text format of Prometheus. docs/server.md explains every name.
//!
//! Each server has a recorder of its own, so that several in one process do not mix their numbers.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

/// A frame's time: a step that takes longer cannot keep up.
pub const FRAME: Duration = Duration::from_millis(80);

/// Upper bounds for times, in seconds: fine between 20 and 80 ms, where it is decided whether a machine keeps up.
const TIME_BUCKETS: [f64; 18] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.1, 0.12, 0.16, 0.24, 0.4, 0.8, 2.0];
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
    /// Frames dropped by the lag policy.
    pub(crate) dropped_frames: Counter,
    /// Calls closed because their queue of events overran.
    pub(crate) overruns: Counter,
    /// Failures of the model.
    pub(crate) failures: Counter,
    /// From a frame's arrival to its reply.
    pub(crate) reply_lag: Histogram,
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

    /// One step of the model.
    pub(crate) fn stepped(&self, took: Duration, rows: usize) {
        self.steps.record(took.as_secs_f64());
        self.step_rows.record(crate::engine_thread::gauge(rows));
        self.frames.increment(rows as u64);
        if took > FRAME {
            self.deadline_misses.increment(1);
        }
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
    gauges: [Gauge; 3],
    counters: [Counter; 6],
    histograms: [Histogram; 3],
}

impl Handles {
    fn register() -> Self {
        Self {
            gauges: [gauge!("moshi_sessions_capacity"), gauge!("moshi_sessions_open"), gauge!("moshi_backlog_frames")],
            counters: [
                counter!("moshi_sessions_admitted_total"),
                counter!("moshi_frames_dropped_total"),
                counter!("moshi_output_overruns_total"),
                counter!("moshi_model_failures_total"),
                counter!("moshi_frames_total"),
                counter!("moshi_deadline_misses_total"),
            ],
            histograms: [
                histogram!("moshi_reply_lag_seconds"),
                histogram!("moshi_step_seconds"),
                histogram!("moshi_step_rows"),
            ],
        }
    }

    fn into_metrics(self, recorder: PrometheusRecorder, exporter: PrometheusHandle) -> Metrics {
        let [capacity, open, backlog] = self.gauges;
        let [admitted, dropped_frames, overruns, failures, frames, deadline_misses] = self.counters;
        let [reply_lag, steps, step_rows] = self.histograms;
        Metrics {
            recorder,
            exporter,
            capacity,
            open,
            admitted,
            backlog,
            dropped_frames,
            overruns,
            failures,
            reply_lag,
            steps,
            step_rows,
            frames,
            deadline_misses,
        }
    }
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_gauge!("moshi_info", "1, with the instance's name and version as labels.");
    describe_gauge!("moshi_sessions_capacity", "Calls that fit at once.");
    describe_gauge!("moshi_sessions_open", "Calls that are open.");
    describe_gauge!("moshi_backlog_frames", "Frames of callers that wait to be heard.");
    describe_counter!("moshi_sessions_admitted_total", "Calls admitted.");
    describe_counter!("moshi_sessions_refused_total", "Calls refused, by reason.");
    describe_counter!("moshi_sessions_closed_total", "Calls ended, by reason.");
    describe_counter!("moshi_bad_input_total", "Messages or pieces of audio that could not be used, by kind.");
    describe_counter!("moshi_frames_total", "Frames of 80 ms stepped, over all calls.");
    describe_counter!("moshi_frames_dropped_total", "Frames dropped unheard because a call's backlog was too long.");
    describe_counter!("moshi_output_overruns_total", "Calls closed because the caller did not read.");
    describe_counter!("moshi_model_failures_total", "Failures of the model, of one call or of all.");
    describe_counter!("moshi_deadline_misses_total", "Steps that took longer than a frame, 80 ms.");
    describe_histogram!("moshi_step_seconds", "Time of one step of the model over all its rows.");
    describe_histogram!("moshi_step_rows", "Calls that took part in one step.");
    describe_histogram!("moshi_reply_lag_seconds", "Time from a frame's arrival to its reply.");
}
