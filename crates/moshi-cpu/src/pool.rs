//! Threads that share one operation after another.
//!
//! A step is a few hundred operations of a few microseconds to a few milliseconds, one after another. Between two of
//! them the helpers of a [`Pool`] look for work for some tens of microseconds and then go to sleep: hot during a step,
//! idle between frames. Which thread does which part never shows in a result.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;

/// How often a helper looks for the next operation before it sleeps: 50 to 200 microseconds, the longest pause
/// between operations inside a step, on today's processors.
const SPINS: usize = 4_000;

/// A call on every part of an operation. A job's is only used while the operation that made it runs.
type Work<'a> = dyn Fn(usize) + Sync + 'a;

/// An operation that helpers may join.
#[derive(Clone, Copy)]
struct Job {
    work: *const Work<'static>,
    parts: usize,
}

// SAFETY: the pointer leads to a `Sync` closure, and `Pool::run` keeps it alive until every helper has left.
unsafe impl Send for Job {}

#[derive(Default)]
struct Door {
    /// The operation that may be joined now.
    job: Option<Job>,
    /// How many helpers sleep.
    sleeping: usize,
    stop: bool,
}

#[derive(Default)]
struct Shared {
    door: Mutex<Door>,
    wake: Condvar,
    /// Counts operations, so that a helper sees a new one without the lock.
    epoch: AtomicUsize,
    /// The next part to do.
    next: AtomicUsize,
    /// Helpers inside the operation.
    inside: AtomicUsize,
    /// A part panicked.
    failed: AtomicBool,
}

impl Shared {
    fn door(&self) -> MutexGuard<'_, Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does parts until none is left.
    fn work(&self, work: &Work<'_>, parts: usize) {
        loop {
            let part = self.next.fetch_add(1, Ordering::Relaxed);
            if part >= parts {
                return;
            }
            work(part);
        }
    }

    /// Waits for an operation newer than `seen`; nothing when the pool ends.
    fn enter(&self, seen: &mut usize) -> Option<Job> {
        loop {
            let mut spins = 0;
            while self.epoch.load(Ordering::Acquire) == *seen && spins < SPINS {
                std::hint::spin_loop();
                spins += 1;
            }
            let mut door = self.door();
            while self.epoch.load(Ordering::Acquire) == *seen && !door.stop {
                door.sleeping += 1;
                door = self.wake.wait(door).unwrap_or_else(PoisonError::into_inner);
                door.sleeping -= 1;
            }
            if door.stop {
                return None;
            }
            *seen = self.epoch.load(Ordering::Acquire);
            if let Some(job) = door.job {
                // Under the lock, so that `Pool::run`, which closes the door under it, sees who is inside.
                self.inside.fetch_add(1, Ordering::Relaxed);
                return Some(job);
            }
        }
    }

    fn help(&self) {
        let mut seen = 0;
        while let Some(job) = self.enter(&mut seen) {
            let done = catch_unwind(AssertUnwindSafe(|| {
                // SAFETY: `run` does not return before `inside` is back to 0, so the closure is alive.
                self.work(unsafe { &*job.work }, job.parts);
            }));
            if done.is_err() {
                self.failed.store(true, Ordering::Relaxed);
            }
            self.inside.fetch_sub(1, Ordering::Release);
        }
    }
}

/// Closes the door and waits for the helpers inside, also when a part panics.
struct Closing<'a>(&'a Shared);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.door().job = None;
        let mut spins = 0;
        while self.0.inside.load(Ordering::Acquire) > 0 {
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now(); // a helper lost its processor to someone else
            }
        }
    }
}

/// Helpers that join the calling thread in its operations.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    busy: Mutex<()>,
    helpers: Vec<JoinHandle<()>>,
}

impl Pool {
    /// A pool of `helpers` threads beside the caller; fewer if the system has no more.
    pub(crate) fn new(helpers: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let spawn = |i: usize| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name(format!("moshi-cpu-{i}")).spawn(move || shared.help()).ok()
        };
        Self { helpers: (1..=helpers).filter_map(spawn).collect(), busy: Mutex::new(()), shared: Arc::clone(&shared) }
    }

    /// Calls `work` once for every part in `0..parts`, on the caller and the helpers. If another thread is using the
    /// pool, or from inside of an operation, the caller does everything itself.
    pub(crate) fn run(&self, parts: usize, work: &Work<'_>) {
        let _busy = match self.busy.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(guard)) => guard.into_inner(),
            Err(TryLockError::WouldBlock) => return (0..parts).for_each(work),
        };
        // SAFETY: only the lifetime changes; `Closing` sees to it that no helper uses the closure after this function.
        let work_ptr = unsafe { std::mem::transmute::<*const Work<'_>, *const Work<'static>>(work) };
        self.shared.next.store(0, Ordering::Relaxed);
        let sleeping = {
            let mut door = self.shared.door();
            door.job = Some(Job { work: work_ptr, parts });
            self.shared.epoch.fetch_add(1, Ordering::Release);
            door.sleeping
        };
        if sleeping > 0 {
            self.shared.wake.notify_all();
        }
        let closing = Closing(&self.shared);
        self.shared.work(work, parts);
        drop(closing);
        if self.shared.failed.swap(false, Ordering::Relaxed) {
            resume_unwind(Box::new("a part of an operation panicked"));
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.door().stop = true;
        self.shared.wake.notify_all();
        for helper in self.helpers.drain(..) {
            let _ = helper.join(); // helpers catch panics, so there is nothing to learn here
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_done_once_over_many_operations() {
        let pool = Pool::new(3);
        for parts in 0..200 {
            let done: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
            pool.run(parts, &|i| {
                done[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(done.iter().all(|d| d.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn threads_that_share_a_pool_do_not_wait_for_each_other() {
        let pool = Pool::new(1);
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for _ in 0..100 {
                        let sum = AtomicUsize::new(0);
                        pool.run(10, &|i| {
                            sum.fetch_add(i, Ordering::Relaxed);
                        });
                        assert_eq!(sum.into_inner(), 45);
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_in_a_part_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Pool::new(1);
        for _ in 0..20 {
            let caught = catch_unwind(AssertUnwindSafe(|| pool.run(4, &|i| assert!(i != 2, "part two"))));
            assert!(caught.is_err());
        }
        let sum = AtomicUsize::new(0);
        pool.run(4, &|i| {
            sum.fetch_add(i, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 6);
    }
}
