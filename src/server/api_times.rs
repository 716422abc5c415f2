//! Times of a listener's requests, by path, method and status.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::web::Data;
use webb_metrics::expose::Histogram;

/// A request's path as the route has it, its method, and the status of the answer.
pub type ApiCall = (String, &'static str, u16);

/// Times of requests. Bounded: paths are those of routes, and all others have one name.
#[derive(Debug, Clone, Default)]
pub struct ApiTimes(Arc<Mutex<BTreeMap<ApiCall, Histogram>>>);

impl ApiTimes {
    /// Counts a request.
    fn observe(&self, call: ApiCall, took: Duration) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times.entry(call).or_default().observe(took.as_secs_f64());
    }

    /// The times so far.
    #[must_use]
    pub fn times(&self) -> Vec<(ApiCall, Histogram)> {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times.iter().map(|(call, times)| (call.clone(), times.clone())).collect()
    }
}

/// Times a request. The server has [`ApiTimes`] as its data.
///
/// # Errors
/// Those of the request.
pub async fn time(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let began = Instant::now();
    let times = request.app_data::<Data<ApiTimes>>().cloned();
    let path = request.match_pattern().unwrap_or_else(|| "other".to_owned());
    let method = word(request.method());
    let answered = next.call(request).await;
    if let Some(times) = times {
        let status = match &answered {
            Ok(response) => response.status(),
            Err(error) => error.as_response_error().status_code(),
        };
        times.observe((path, method, status.as_u16()), began.elapsed());
    }
    answered
}

/// A method by its name; those that no route has have one name.
fn word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}
