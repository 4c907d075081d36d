//! A stream's receiver may outlive its host, and enters the plugin when it is dropped. The gate lets it in only while
//! the plugin is there, and lets the host wait until it is out again.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

struct Traffic {
    open: bool,
    inside: usize,
}

pub(crate) struct Gate<T> {
    behind: T,
    traffic: Mutex<Traffic>,
    left: Condvar,
}

impl<T> Gate<T> {
    pub fn new(behind: T) -> Self {
        let traffic = Mutex::new(Traffic { open: true, inside: 0 });
        Self {
            behind,
            traffic,
            left: Condvar::new(),
        }
    }

    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `visit`, unless the gate is closed. No lock is held meanwhile.
    pub fn enter<R>(&self, visit: impl FnOnce(&T) -> R) -> Option<R> {
        let mut traffic = self.traffic();
        if !traffic.open {
            return None;
        }
        traffic.inside += 1;
        drop(traffic);
        let _out = Leave(self);
        Some(visit(&self.behind))
    }

    /// Lets nobody in any more, and waits for those who are.
    pub fn close(&self) {
        let mut traffic = self.traffic();
        traffic.open = false;
        while traffic.inside > 0 {
            traffic = self.left.wait(traffic).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

struct Leave<'a, T>(&'a Gate<T>);

impl<T> Drop for Leave<'_, T> {
    fn drop(&mut self) {
        self.0.traffic().inside -= 1;
        self.0.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;
    use std::thread;

    use super::Gate;

    #[test]
    fn close_waits_for_those_inside() {
        let gate = Gate::new(7);
        let out = AtomicBool::new(false);
        let (entered, is_inside) = mpsc::channel();
        let (let_go, may_go) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let (gate, out) = (&gate, &out);
            scope.spawn(move || {
                gate.enter(|number| {
                    entered.send(*number).unwrap();
                    may_go.recv().unwrap();
                    out.store(true, Ordering::SeqCst);
                })
            });
            assert_eq!(is_inside.recv(), Ok(7));
            let closer = scope.spawn(move || {
                gate.close();
                out.load(Ordering::SeqCst)
            });
            while gate.enter(|_| ()).is_some() {
                thread::yield_now();
            }
            let_go.send(()).unwrap();
            assert!(closer.join().unwrap());
        });
        assert_eq!(gate.enter(|_| ()), None);
    }
}
