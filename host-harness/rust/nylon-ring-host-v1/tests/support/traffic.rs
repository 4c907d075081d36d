//! Loading anew while others call.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use nylon_ring_host_v1::NylonRingHost;

use super::{assert_idle, soon};

/// Four tasks make `round` after `round` on the host that is current, while it is replaced `times` over. The old host
/// goes when its last call has been answered, on the task that made that call.
pub async fn reload_under_traffic<R>(times: u64, load: impl Fn() -> NylonRingHost, round: fn(Arc<NylonRingHost>) -> R)
where
    R: Future<Output = ()> + Send + 'static,
{
    let current = Arc::new(Mutex::new(Arc::new(load())));
    let over = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (current, over, answered) = (Arc::clone(&current), Arc::clone(&over), Arc::clone(&answered));
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let host = Arc::clone(&current.lock().unwrap());
                    round(host).await;
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for _ in 0..times {
        let enough = answered.load(Ordering::Relaxed) + 8;
        let next = Arc::new(load());
        drop(std::mem::replace(&mut *current.lock().unwrap(), next));
        while answered.load(Ordering::Relaxed) < enough && !callers.iter().any(|caller| caller.is_finished()) {
            tokio::task::yield_now().await;
        }
    }
    over.store(true, Ordering::Relaxed);
    for caller in callers {
        soon(caller).await.unwrap();
    }
    assert_idle(&current.lock().unwrap());
}
