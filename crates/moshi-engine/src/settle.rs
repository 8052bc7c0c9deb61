//! What comes of a job: where its results go, and what becomes of the sessions.

use std::time::Duration;

use crate::engine::{Engine, JobReport, Model};
use crate::job::{Batch, BatchRow, Opening, Work};
use crate::waiting;
use crate::{EngineError, FRAME_SAMPLES, Heard, Job, Output, RowOutput, SessionEvent, SessionId};

impl Engine {
    /// Takes the model back from a job that has run, at time `now`, and collects what came of it.
    pub fn settle(&mut self, job: Job, now: Duration, out: &mut Vec<Output>) -> JobReport {
        let mut report = JobReport::default();
        if self.gone().is_some() {
            return report; // it was given up meanwhile
        }
        self.model = Model::Here(job.model);
        match job.work {
            Work::Open(opening) => self.settle_opening(opening, out, &mut report),
            Work::Close { .. } => {}
            Work::Step(batch) => self.settle_step(batch, now, out, &mut report),
        }
        report
    }

    fn settle_opening(&mut self, opening: Opening, out: &mut Vec<Output>, report: &mut JobReport) {
        let Opening { id, epoch, opened, .. } = opening;
        // Whoever left meanwhile has asked for the row to be closed; whoever began anew, for another opening.
        let Some(row) = self.row_of(id) else { return };
        let Some(session) = self.rows[row].as_mut().filter(|s| s.epoch == epoch) else { return };
        match opened {
            Ok(priming) => {
                let event = if session.known { SessionEvent::Reset } else { SessionEvent::Opened };
                self.metrics.admitted += u64::from(!session.known);
                session.opened(priming);
                out.push(Output { session: id, event });
            }
            Err(error) => {
                // Whoever never had a row has no owner yet who could reset it.
                let stays = session.known && session.breaks(&error);
                report.failed = usize::from(session.known);
                self.metrics.failed += u64::from(session.known);
                out.push(Output { session: id, event: SessionEvent::Failed(error) });
                if !stays {
                    // The model has not opened the row, so there is nothing to close.
                    self.rows[row] = None;
                    report.closed += 1;
                }
            }
        }
    }

    fn settle_step(&mut self, batch: Batch, now: Duration, out: &mut Vec<Output>, report: &mut JobReport) {
        let Batch { began, dropped, rows, outputs, result } = batch;
        for (session, frames) in dropped {
            self.metrics.dropped_frames += frames as u64;
            out.push(Output { session, event: SessionEvent::Dropped { frames } });
        }
        let took = now.saturating_sub(began);
        *report = JobReport { rows: rows.len(), began, took, error: result.err(), ..JobReport::default() };
        if !rows.is_empty() && report.error.is_none() {
            self.metrics.ticks += 1;
            self.metrics.frames += rows.len() as u64;
        }
        // A job that was not run has no outputs.
        let outputs = outputs.into_iter().chain(std::iter::repeat_with(RowOutput::default));
        for (mut row, output) in rows.into_iter().zip(outputs) {
            self.settle_row(&mut row, output, (began, now), out, report);
            self.keep_buffers(row);
        }
        self.end_those_who_are_over(out, report);
    }

    fn settle_row(
        &mut self,
        row: &mut BatchRow,
        mut output: RowOutput,
        (began, now): (Duration, Duration),
        out: &mut Vec<Output>,
        report: &mut JobReport,
    ) {
        let id = row.id;
        let session = self.rows[row.row].as_mut();
        // Whoever left or began anew meanwhile hears nothing of it.
        let Some(session) = session.filter(|s| s.id == id && s.epoch == row.epoch) else { return };
        session.running = false;
        let failed = report.error.clone().or_else(|| output.error.take().map(EngineError::Model));
        if let Some(error) = failed {
            report.failed += usize::from(report.error.is_none());
            self.metrics.failed += 1;
            let stays = session.breaks(&error);
            out.push(Output { session: id, event: SessionEvent::Failed(error) });
            if !stays {
                report.closed += 1;
                self.close(id);
            }
            return;
        }
        if let waiting::Heard::Prompt = row.frame.heard {
            if row.priming == 0 {
                session.opened(0);
                out.push(Output { session: id, event: SessionEvent::Primed });
            }
            return;
        }
        if output.waits {
            if session.wants_words() {
                out.push(Output { session: id, event: SessionEvent::WordsWanted });
            }
            return;
        }
        if let waiting::Heard::Nothing = row.frame.heard {
            session.shorten_tail();
        }
        let step = session.heard();
        let over = session.is_over(output.ended);
        tell(row, output, step, (began, now), out);
        if over {
            self.end(id, out, report);
        }
    }

    /// Ends those whose caller ended with nothing left to hear.
    fn end_those_who_are_over(&mut self, out: &mut Vec<Output>, report: &mut JobReport) {
        for row in 0..self.rows.len() {
            let Some(session) = &mut self.rows[row] else { continue };
            if session.is_over(false) {
                let id = session.id;
                self.end(id, out, report);
            }
        }
    }

    fn end(&mut self, id: SessionId, out: &mut Vec<Output>, report: &mut JobReport) {
        out.push(Output { session: id, event: SessionEvent::Ended });
        report.closed += 1;
        self.close(id);
    }

    /// Buffers of a row that has run, for the next frames.
    fn keep_buffers(&mut self, row: BatchRow) {
        let BatchRow { frame, said, .. } = row;
        let heard = if let waiting::Heard::Pcm(pcm) = frame.heard { Some(pcm) } else { None };
        let most = 2 * self.rows.len();
        let buffers = heard.into_iter().chain([said]).filter(|buffer| buffer.len() == FRAME_SAMPLES);
        self.spare.extend(buffers);
        self.spare.truncate(most);
    }
}

/// The events of one row's step.
fn tell(row: &mut BatchRow, output: RowOutput, step: u64, (began, now): (Duration, Duration), out: &mut Vec<Output>) {
    let mut tell = |event| out.push(Output { session: row.id, event });
    if !output.text.is_empty() {
        tell(SessionEvent::Text { text: output.text, step });
    }
    let Heard { words, pause, heads } = output.heard;
    words.into_iter().for_each(|word| tell(SessionEvent::Word(word)));
    if pause {
        tell(SessionEvent::Pause);
    }
    if !heads.is_empty() {
        tell(SessionEvent::Heads(heads));
    }
    output.watched.into_iter().for_each(|token| tell(SessionEvent::Token { token, step }));
    if !output.codes.is_empty() {
        tell(SessionEvent::Codes(output.codes));
    }
    if output.audio {
        let at = row.frame.at;
        let (lag, waited) = (now.saturating_sub(at), began.saturating_sub(at));
        tell(SessionEvent::Audio { pcm: std::mem::take(&mut row.said), lag, waited });
    }
}
