//! What is told of a measurement, to people and as JSON.

use std::fmt;

use moshi_cpu::cores::Cores;
use serde::Serialize;

use super::machine::Machine;
use super::measure::Measured;
use super::memory::resident_bytes;
use super::parts::PartTimes;
use super::percentiles::Percentiles;

/// Seconds of audio in one frame.
const FRAME_SECONDS: f64 = 0.08;

/// A step against the machine's arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ArithmeticReport {
    /// Multiply-adds of weights with activations in a step of one row.
    pub multiply_adds: u64,
    /// What as many threads do on registers alone, with operands as the temporal transformer's, measured between the
    /// steps, in 1e9 per second (median).
    pub machine_gmacs: f64,
    /// `rows * multiply_adds / step p50 / machine_gmacs`: 1 is a step at the speed of arithmetic.
    pub share: f64,
}

/// One run of a model.
#[derive(Debug, Clone, Serialize)]
pub struct BenchReport {
    /// What was run.
    pub model: String,
    /// The executor.
    pub executor: String,
    /// The instruction set that our own kernels have chosen.
    pub isa: String,
    /// Sessions stepped together.
    pub rows: usize,
    /// Threads per step.
    pub threads: usize,
    /// Frames measured.
    pub frames: usize,
    /// A plain read of memory by as many threads, measured between the steps, in 1e9 bytes per second (median).
    pub machine_gbps: f64,
    /// Bytes of weights that a step of one row reads, as the executor has laid them out.
    pub weight_bytes: u64,
    /// Bytes of the sessions' keys and values, if known.
    pub state_bytes: Option<u64>,
    /// Time of a step: encode, language model, decode, all rows.
    pub step_ms: Percentiles,
    /// `weight_bytes / step p50 / machine_gbps`: 1 is a step at the speed of memory.
    pub bandwidth_share: f64,
    /// The same against the machine's arithmetic, where it is known how many multiply-adds a step takes.
    pub arithmetic: Option<ArithmeticReport>,
    /// Seconds of audio per second of computing, over all rows.
    pub real_time_factor: f64,
    /// Seconds from the start to a model that is ready.
    pub load_s: f64,
    /// Memory of the process after the run, without the block that the machine's reads are measured on.
    pub rss_bytes: Option<u64>,
    /// Median times of the parts of a step, if they were asked for.
    pub parts_ms: Option<PartTimes>,
}

impl BenchReport {
    /// What a report holds whatever was measured; the rest is empty.
    pub(super) fn of(measured: &Measured, rows: usize, cores: &Cores, load_s: f64) -> Self {
        Self {
            model: String::new(),
            executor: String::new(),
            isa: cores.isa().name().to_owned(),
            rows,
            threads: cores.threads(),
            frames: measured.steps.len(),
            machine_gbps: measured.median(|machine: &Machine| machine.gbps),
            weight_bytes: 0,
            state_bytes: None,
            step_ms: Percentiles::of(measured.steps.clone()),
            bandwidth_share: 0.0,
            arithmetic: None,
            real_time_factor: 0.0,
            load_s,
            rss_bytes: resident_bytes(),
            parts_ms: None,
        }
    }

    /// Fills in what follows from the rest.
    pub(super) fn derive(mut self) -> Self {
        let seconds = self.step_ms.p50 / 1e3;
        self.bandwidth_share = self.weight_bytes as f64 / seconds / (self.machine_gbps * 1e9);
        if let Some(a) = &mut self.arithmetic {
            a.share = self.rows as f64 * a.multiply_adds as f64 / seconds / (a.machine_gmacs * 1e9);
        }
        self.real_time_factor = self.rows as f64 * FRAME_SECONDS / seconds;
        self
    }
}

impl fmt::Display for BenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Percentiles { p50, p95, p99 } = self.step_ms;
        writeln!(f, "model            {} on {} ({})", self.model, self.executor, self.isa)?;
        writeln!(f, "rows x threads   {} x {}", self.rows, self.threads)?;
        writeln!(f, "step             p50 {p50:.2} ms, p95 {p95:.2} ms, p99 {p99:.2} ms over {} frames", self.frames)?;
        writeln!(f, "real time        {:.2} times", self.real_time_factor)?;
        writeln!(f, "weights          {:.1} MB per step", self.weight_bytes as f64 / 1e6)?;
        writeln!(f, "machine          {:.1} GB/s plain read by {} threads", self.machine_gbps, self.threads)?;
        writeln!(f, "bandwidth share  {:.1} %", 100.0 * self.bandwidth_share)?;
        if let Some(ArithmeticReport { multiply_adds, machine_gmacs, share }) = self.arithmetic {
            let all = self.rows as f64 * multiply_adds as f64 / 1e9;
            writeln!(
                f,
                "arithmetic       {all:.2} G multiply-adds per step, machine {machine_gmacs:.0} G/s on registers"
            )?;
            writeln!(f, "arithmetic share {:.1} %", 100.0 * share)?;
        }
        write!(f, "loaded in        {:.2} s", self.load_s)?;
        if let Some(rss) = self.rss_bytes {
            write!(f, "\nresident         {:.1} MB", rss as f64 / 1e6)?;
        }
        if let Some(bytes) = self.state_bytes {
            write!(f, "\nsessions         {:.1} MB of keys and values", bytes as f64 / 1e6)?;
        }
        if let Some(PartTimes { temporal, text_head, depth, sampling, codec }) = self.parts_ms {
            write!(
                f,
                "\nparts            temporal {temporal:.2} ms, text head {text_head:.2} ms, depth {depth:.2} ms, "
            )?;
            write!(f, "sampling {sampling:.2} ms, codec {codec:.2} ms")?;
        }
        Ok(())
    }
}
