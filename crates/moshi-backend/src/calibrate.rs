//! How many calls a machine can hold: the model is stepped with 1, 2, 4, ... rows at start-up until a step takes too
//! long, and the largest number that fits is looked for in between.

use std::time::{Duration, Instant};

use moshi_engine::{EngineError, FRAME_SAMPLES, FrameInput, FrameModel, NO_ASIDE, RowStep, SessionParams, SessionSpec};
use serde::Serialize;

use crate::model::ModelHost;

/// Most rows that are tried: further callers of a model this small are a matter for a second server.
pub const MOST_ROWS: usize = 64;
/// Steps that are not counted: memory is touched and threads wake for the first time.
const WARM_UP: usize = 3;
/// Steps that are counted, unless they take longer than [`LONGEST`] together.
const STEPS: usize = 25;
/// Time for the counted steps of one number of rows.
const LONGEST: Duration = Duration::from_millis(800);

/// A number of rows and how long a step over them takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct CalibrationPoint {
    /// Rows in the step.
    pub rows: usize,
    /// Nine of ten steps take no longer, in milliseconds.
    pub step_ms: f64,
}

/// What a calibration found.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// Rows that fit into the budget; at least 1.
    pub rows: usize,
    /// What was measured, by rows.
    pub points: Vec<CalibrationPoint>,
    /// False when not even one row fits.
    pub keeps_up: bool,
}

/// Finds how many rows of `host`'s model fit into `budget`. Takes a few seconds, and much less for a model of a size
/// that this machine was not made for.
///
/// # Errors
/// When not even one row can be made or stepped; that more rows fail only ends the search.
pub fn calibrate(host: &mut ModelHost, budget: Duration) -> Result<Calibration, EngineError> {
    search(budget, |rows| measure(host, rows))
}

/// The largest number of rows whose step stays within `budget`, by doubling and then halving the interval.
fn search(
    budget: Duration,
    mut measure: impl FnMut(usize) -> Result<Duration, EngineError>,
) -> Result<Calibration, EngineError> {
    let mut points = Vec::new();
    let mut fits = |rows: usize| -> Result<bool, EngineError> {
        let step = measure(rows)?;
        points.push(CalibrationPoint { rows, step_ms: step.as_secs_f64() * 1e3 });
        Ok(step <= budget)
    };
    let keeps_up = fits(1)?;
    let (mut good, mut bad) = (1, if keeps_up { None } else { Some(2) });
    while bad.is_none() && good < MOST_ROWS {
        let next = good * 2;
        // Too little memory for more rows is an answer too.
        if fits(next).unwrap_or(false) { good = next } else { bad = Some(next) }
    }
    // To an eighth: the noise of a busy machine is larger than that.
    while let Some(limit) = bad.filter(|limit| limit - good > (good / 8).max(1)) {
        let middle = good.midpoint(limit);
        if fits(middle).unwrap_or(false) { good = middle } else { bad = Some(middle) }
    }
    points.sort_by_key(|point| point.rows);
    Ok(Calibration { rows: good, points, keeps_up })
}

/// Takes the first steps of a model, all rows together, before callers wait for them: they read its weights from the
/// disk, wake its threads and touch every row's memory for the first time. The rows are free afterwards.
///
/// # Errors
/// When the model cannot be stepped.
pub(crate) fn warm_up(model: &mut dyn FrameModel, params: &SessionParams) -> Result<(), EngineError> {
    let (rows, spec) = (model.rows(), SessionSpec::live(*params));
    (0..rows).try_for_each(|row| model.open(row, &spec))?;
    let (noise, mut out) = (noise(rows), vec![0.0; rows * FRAME_SAMPLES]);
    for _ in 0..WARM_UP {
        step(model, &noise, &mut out)?;
    }
    (0..rows).for_each(|row| model.close(row));
    Ok(())
}

/// Nine of ten steps over `rows` busy rows take no longer than this.
fn measure(host: &mut ModelHost, rows: usize) -> Result<Duration, EngineError> {
    let (mut model, spec) = (host.make(rows)?, SessionSpec::live(host.defaults));
    (0..rows).try_for_each(|row| model.open(row, &spec))?;
    let noise = noise(rows);
    let mut out = vec![0.0; rows * FRAME_SAMPLES];
    for _ in 0..WARM_UP {
        step(&mut *model, &noise, &mut out)?;
    }
    let (begin, mut times) = (Instant::now(), Vec::with_capacity(STEPS));
    while times.is_empty() || (times.len() < STEPS && begin.elapsed() < LONGEST) {
        times.push(step(&mut *model, &noise, &mut out)?);
    }
    times.sort_unstable();
    Ok(times[(times.len() * 9).div_ceil(10) - 1])
}

fn step(model: &mut dyn FrameModel, pcm: &[f32], out: &mut [f32]) -> Result<Duration, EngineError> {
    let frames = pcm.chunks_exact(FRAME_SAMPLES).zip(out.chunks_exact_mut(FRAME_SAMPLES)).enumerate();
    let row = |(row, (pcm, pcm_out))| RowStep {
        row,
        input: FrameInput::Pcm(pcm),
        aside: &NO_ASIDE,
        pcm_out,
        output: Default::default(),
    };
    let mut steps: Vec<RowStep<'_>> = frames.map(row).collect();
    let begin = Instant::now();
    model.step(&mut steps)?;
    let took = begin.elapsed();
    // Noise harms no sound model: what fails now would fail every call.
    match steps.iter_mut().find_map(|step| step.output.error.take()) {
        Some(why) => Err(EngineError::Model(why)),
        None => Ok(took),
    }
}

/// A frame of quiet noise for each row: silence could be faster than speech.
#[expect(clippy::cast_precision_loss, reason = "24 bits fit an f32")]
fn noise(rows: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_u32;
    let mut sample = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        ((state >> 8) as f32 / (1 << 24) as f32 - 0.5) * 0.2
    };
    (0..rows * FRAME_SAMPLES).map(|_| sample()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches where a step takes `base + each * rows` microseconds, within 56 ms.
    fn found(base: u64, each: u64) -> Calibration {
        search(Duration::from_millis(56), |rows| Ok(Duration::from_micros(base + each * rows as u64))).unwrap()
    }

    #[test]
    fn the_largest_number_within_the_budget_is_found_to_an_eighth() {
        for (base, each) in [(0, 5_000), (3_000, 1_700), (20_000, 9_000), (0, 28_000), (0, 55_999)] {
            let fits = (56_000 - base) / each;
            let rows = found(base, each).rows as u64;
            assert!(rows <= fits && rows + rows / 8 + 1 > fits.min(MOST_ROWS as u64), "{rows} of {fits}");
        }
        assert_eq!(found(0, 1).rows, MOST_ROWS);
    }

    #[test]
    fn a_model_that_does_not_keep_up_gets_one_row_and_is_told_of() {
        let slow = found(0, 90_000);
        assert_eq!((slow.rows, slow.keeps_up, slow.points.len()), (1, false, 1));
    }

    #[test]
    fn rows_that_cannot_be_made_end_the_search_unless_there_is_none_at_all() {
        let no_memory = || EngineError::Model("no memory".to_owned());
        let up_to = |most: usize| {
            search(Duration::from_millis(56), |rows| if rows <= most { Ok(Duration::ZERO) } else { Err(no_memory()) })
        };
        assert_eq!(up_to(5).unwrap().rows, 5);
        assert!(up_to(0).is_err());
    }

    #[test]
    fn the_loopback_fits_as_often_as_is_tried() {
        let found = calibrate(&mut ModelHost::loopback(), Duration::from_millis(56)).unwrap();
        assert_eq!((found.rows, found.keeps_up), (MOST_ROWS, true));
    }
}
