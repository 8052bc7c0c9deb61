//! The waiting line: callers who found the house full, in the order in which they came.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::metrics::{Metrics, gauge};

/// A bounded line. Only its head may take a place that becomes free, so nobody is overtaken.
pub(crate) struct WaitingLine {
    room: usize,
    tickets: Mutex<Tickets>,
    /// Told whenever somebody leaves the line.
    moved: watch::Sender<u64>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Tickets {
    next: u64,
    line: VecDeque<u64>,
}

/// Somebody's turn in the line; leaves it when dropped.
pub(crate) struct Ticket {
    line: Arc<WaitingLine>,
    id: u64,
    moved: watch::Receiver<u64>,
}

impl WaitingLine {
    /// A line with room for so many; zero is no line at all.
    pub(crate) fn new(room: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { room, tickets: Mutex::default(), moved: watch::channel(0).0, metrics })
    }

    /// Joins the end of the line. `None` when it is full.
    pub(crate) fn join(self: &Arc<Self>) -> Option<Ticket> {
        let mut tickets = self.tickets();
        if tickets.line.len() >= self.room {
            return None;
        }
        let id = tickets.next;
        tickets.next += 1;
        tickets.line.push_back(id);
        self.metrics.waiting.set(gauge(tickets.line.len()));
        Some(Ticket { line: Arc::clone(self), id, moved: self.moved.subscribe() })
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.tickets().line.len()
    }

    fn tickets(&self) -> MutexGuard<'_, Tickets> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// 1 is the head of the line.
    pub(crate) fn position(&self) -> usize {
        self.line.tickets().line.iter().position(|id| *id == self.id).map_or(1, |ahead| ahead + 1)
    }

    /// How long the line is.
    pub(crate) fn length(&self) -> usize {
        self.line.len()
    }

    /// Completes when somebody has left the line since the last time.
    pub(crate) async fn moved(&mut self) {
        // The ticket holds the line, so the sender lives.
        let _ = self.moved.changed().await;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut tickets = self.line.tickets();
        tickets.line.retain(|id| *id != self.id);
        self.line.metrics.waiting.set(gauge(tickets.line.len()));
        drop(tickets);
        self.line.moved.send_modify(|version| *version += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_line_is_bounded_and_moves_when_somebody_leaves_it() {
        let line = WaitingLine::new(3, Arc::new(Metrics::new("test", "0").unwrap()));
        let (first, second) = (line.join().unwrap(), line.join().unwrap());
        let mut third = line.join().unwrap();
        assert!(line.join().is_none());
        assert_eq!([first.position(), second.position(), third.position()], [1, 2, 3]);
        drop(second);
        third.moved().await;
        assert_eq!((first.position(), third.position(), third.length()), (1, 2, 2));
        assert_eq!(line.join().unwrap().position(), 3);
    }
}
