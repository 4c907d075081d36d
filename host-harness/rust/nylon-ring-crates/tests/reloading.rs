//! A plugin is replaced, again and again, while callers call: each call is answered or refused, and none is lost.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests count as no tests

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nylon_ring_host::{NrStatus, NylonRingHost, NylonRingHostError, PluginHandle};
use support::{NAME, assert_idle, conformance_plugin, counted, frames, load, soon};
use tokio::sync::RwLock;
use tokio::task::JoinSet;

const RELOADS: usize = 20;
const CALLERS: u64 = 4;

/// One call of each kind in turn. False: refused, the instance being on its way out.
async fn one_call(plugin: &PluginHandle, n: u64) -> bool {
    let body = n.to_le_bytes();
    let reply = match n % 5 {
        0 => soon(plugin.call_response("echo", &body)).await,
        1 => plugin.call_response_fast("echo_sync", &body).await,
        2 => soon(plugin.call_response_bytes("echo_sync", &body))
            .await
            .map(|(status, view)| (status, view.into_vec())),
        3 => match plugin.entry("echo") {
            Ok(entry) => soon(entry.call_response(&body)).await,
            Err(error) => Err(error),
        },
        _ => match plugin.call_stream("count", b"20").await {
            Ok((_, mut stream)) => {
                assert_eq!(frames(&mut stream).await, counted(20));
                return true;
            }
            Err(error) => Err(error),
        },
    };
    match reply {
        Ok(reply) => {
            assert_eq!(reply, (NrStatus::Ok, body.to_vec()));
            true
        }
        Err(NylonRingHostError::PluginUnloaded) => false,
        Err(error) => panic!("neither answered nor refused: {error}"),
    }
}

struct Traffic {
    host: Arc<RwLock<NylonRingHost>>,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    callers: JoinSet<()>,
}

impl Traffic {
    fn start() -> Self {
        let (host, _) = load(&conformance_plugin());
        let mut traffic = Self {
            host: Arc::new(RwLock::new(host)),
            stop: Arc::default(),
            answered: Arc::default(),
            callers: JoinSet::new(),
        };
        for _ in 0..CALLERS {
            let (host, stop, answered) = (traffic.host.clone(), traffic.stop.clone(), traffic.answered.clone());
            traffic.callers.spawn(async move {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    let plugin = host.read().await.plugin(NAME).unwrap();
                    answered.fetch_add(u64::from(one_call(&plugin, n).await), Ordering::Relaxed);
                    n += 1;
                }
            });
        }
        traffic
    }

    /// Comes back when the instance that is loaded now has had its share: a quick reload would meet no call otherwise.
    async fn goes_on(&self) {
        let answered = || self.answered.load(Ordering::Relaxed);
        let enough = answered() + 2 * CALLERS;
        support::until(true, async || answered() >= enough).await;
    }

    async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(caller) = soon(self.callers.join_next()).await {
            caller.unwrap();
        }
        let host = self.host.read().await;
        assert_eq!(host.metrics().loaded_plugins, 1);
        assert_idle(&host);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn by_loading_over_the_same_name() {
    let traffic = Traffic::start();
    for _ in 0..RELOADS {
        soon(traffic.host.write())
            .await
            .load(NAME, &conformance_plugin())
            .unwrap();
        traffic.goes_on().await;
    }
    traffic.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn by_reload_which_is_busy_until_no_call_is_in_progress() {
    let traffic = Traffic::start();
    for _ in 0..RELOADS {
        let mut host = soon(traffic.host.write()).await; // no call begins from here on
        soon(async {
            loop {
                match host.reload() {
                    Ok(()) => break,
                    Err(NylonRingHostError::PluginBusy { .. }) => tokio::task::yield_now().await,
                    Err(error) => panic!("reload: {error}"),
                }
            }
        })
        .await;
        drop(host);
        traffic.goes_on().await;
    }
    traffic.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn by_reload_with_grace() {
    let traffic = Traffic::start();
    for _ in 0..RELOADS {
        let grace = Duration::from_secs(30);
        let mut host = soon(traffic.host.write()).await;
        host.reload_with_grace(grace).await.unwrap();
        drop(host);
        traffic.goes_on().await;
    }
    traffic.stop().await;
}
