//! Counts and times of the requests to an API server.
//!
//! Bounded: paths are templates without names, and what comes after [`MAX_ROWS`] of them is counted
//! under one path.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Different paths and different answers that are counted by themselves.
const MAX_ROWS: usize = 256;

/// Path and host of all requests beyond [`MAX_ROWS`].
const OTHER: &str = "other";

/// Upper bounds of the classes of times, in seconds: the Prometheus libraries' default.
const BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Times of the requests of one path and method, until the headers of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RequestTimes {
    below: [u64; BOUNDS.len()],
    /// Sum of the times, in seconds.
    pub sum: f64,
    /// Number of requests.
    pub count: u64,
}

impl RequestTimes {
    /// Each upper bound in seconds, and the number of requests that took no longer.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        BOUNDS.into_iter().zip(self.below)
    }

    fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        for (below, bound) in self.below.iter_mut().zip(BOUNDS) {
            *below += u64::from(seconds <= bound);
        }
        self.sum += seconds;
        self.count += 1;
    }
}

/// Template of a request's path, and its method.
pub type Call = (String, String);

/// Host of the server with its port, method, and the status of the answer; no status if there was
/// no answer.
pub type Answered = (String, String, Option<u16>);

/// Requests to an API server, those included that were not answered.
#[derive(Debug, Default)]
pub struct Requests {
    times: Mutex<BTreeMap<Call, RequestTimes>>,
    answers: Mutex<BTreeMap<Answered, u64>>,
}

impl Requests {
    /// Times by path and method.
    pub fn times(&self) -> Vec<(Call, RequestTimes)> {
        lock(&self.times).iter().map(|(call, times)| (call.clone(), *times)).collect()
    }

    /// Numbers of requests by host, method and status.
    pub fn answers(&self) -> Vec<(Answered, u64)> {
        lock(&self.answers).iter().map(|(answered, count)| (answered.clone(), *count)).collect()
    }

    /// Counts a request for `path` with its query.
    pub(super) fn count(&self, host: &str, method: &str, path: &str, status: Option<u16>, took: Duration) {
        let mut times = lock(&self.times);
        let mut path = template(path);
        if times.len() >= MAX_ROWS && !times.contains_key(&(path.clone(), method.to_owned())) {
            OTHER.clone_into(&mut path);
        }
        times.entry((path, method.to_owned())).or_default().observe(took);
        drop(times);
        let mut answers = lock(&self.answers);
        let mut answered = (host.to_owned(), method.to_owned(), status);
        if answers.len() >= MAX_ROWS && !answers.contains_key(&answered) {
            OTHER.clone_into(&mut answered.0);
        }
        *answers.entry(answered).or_default() += 1;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The path without its query, with placeholders for names, as Kubernetes' own client has them.
fn template(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').collect();
    // `/api/v1/...` and `/apis/group/version/...`: the resource comes next.
    let resource = match parts.get(1) {
        Some(&"api") => 3,
        Some(&"apis") => 4,
        _ => return path.to_owned(),
    };
    let namespaced = parts.get(resource) == Some(&"namespaces") && parts.len() > resource + 2;
    let named = if namespaced { resource + 3 } else { resource + 1 };
    let part = |(at, part): (usize, &&str)| match at {
        at if namespaced && at == resource + 1 => "{namespace}".to_owned(),
        at if at == named => "{name}".to_owned(),
        _ => (*part).to_owned(),
    };
    parts.iter().enumerate().map(part).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No name of an object is in a path.
    #[test]
    fn paths_without_names() {
        for (path, expected) in [
            ("/api/v1/pods?watch=true&resourceVersion=7", "/api/v1/pods"),
            ("/api/v1/namespaces", "/api/v1/namespaces"),
            ("/api/v1/namespaces/a", "/api/v1/namespaces/{name}"),
            ("/api/v1/namespaces/a/pods/b/status", "/api/v1/namespaces/{namespace}/pods/{name}/status"),
            (
                "/apis/coordination.k8s.io/v1/namespaces/a/leases/b",
                "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}",
            ),
            ("/apis", "/apis"),
            ("/apis/cilium.io/v2", "/apis/cilium.io/v2"),
            ("/apis/cilium.io/v2/ciliumnodes", "/apis/cilium.io/v2/ciliumnodes"),
            ("/version", "/version"),
        ] {
            assert_eq!(template(path), expected);
        }
    }

    /// More paths and hosts than a server has cost no more memory, and every request is counted.
    #[test]
    fn rows_are_bounded() {
        let requests = Requests::default();
        for number in 0..1000 {
            let took = Duration::from_millis(number);
            requests.count(&format!("host-{number}"), "GET", &format!("/kind-{number}"), Some(200), took);
        }
        let (times, answers) = (requests.times(), requests.answers());
        assert_eq!((times.len(), answers.len()), (MAX_ROWS + 1, MAX_ROWS + 1));
        assert_eq!(times.iter().map(|(_, times)| times.count).sum::<u64>(), 1000);
        assert_eq!(answers.iter().map(|(_, count)| count).sum::<u64>(), 1000);
        let all: Vec<u64> = (0..BOUNDS.len()).map(|at| times.iter().map(|(_, times)| times.below[at]).sum()).collect();
        assert_eq!(all, [6, 11, 26, 51, 101, 251, 501, 1000, 1000, 1000, 1000]);
    }
}
