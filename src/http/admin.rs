//! Admin endpoints: /healthz, /readyz, /version, /actors, /faults, /config, /loglevel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use actix_web::http::StatusCode;
use actix_web::http::header::ALLOW;
use actix_web::{HttpRequest, HttpResponse, web};
use arc_swap::ArcSwap;
use serde::Serialize;
use serde_json::{Value, json};
use webb_flow::fault::{Component, Components, FaultType};

use super::explain::Explain;
use super::node_view::ViewCache;
use super::{api, explain, health, page};
use crate::actors::Directory;
use crate::logging::LogControl;
use crate::privileges::{self, Confinement, Privileges, Restriction};
use crate::reloads::Reloads;

/// The state that the admin endpoints show.
#[derive(Debug)]
pub struct Admin {
    /// Everything that can fail.
    pub components: Components,
    /// Everything that can be restarted.
    pub directory: Directory,
    /// The configuration as resolved, with where each value came from.
    pub config: ArcSwap<Value>,
    /// The log's level.
    pub log: LogControl,
    /// Outcomes of reloads.
    pub reloads: Arc<Reloads>,
    /// Set once the agent is being stopped.
    pub stopping: AtomicBool,
    /// What the agent gave up.
    pub privileges: Privileges,
    /// What the agent denies itself.
    pub confinement: Arc<Confinement>,
    /// `version`, `kernel` and the like.
    pub version: Value,
}

impl Admin {
    /// True once every component is up, until the agent is being stopped.
    pub fn is_ready(&self) -> bool {
        !self.stopping.load(Relaxed) && self.components.are_up()
    }
}

/// The age of the control thread's heartbeat beyond which /healthz fails.
const CONTROL_BEAT_LIMIT_MS: u64 = 30_000;

/// Name of the component that carries the control thread's heartbeat.
pub const CONTROL: &str = "control";

const INDEX: &str = "webb admin listener

GET  /                           this list; the page, for a browser
GET  /healthz                    200 while the process turns over
GET  /readyz                     200 once every component is up; each with its state and why; capabilities, Landlock and seccomp
GET  /version                    version and kernel
GET  /actors                     every component: state, restarts, faults by kind, last beat, queue depth
GET  /faults                     the last 32 faults
GET  /config                     the configuration as resolved, with where each value came from
";

const COMMANDS_INDEX: &str = "
POST /loglevel                   body: a level, and module=level pairs
POST /actors/{name}/restart      restart one component

POST needs the header X-Webb-Admin: curl -X POST -H 'X-Webb-Admin: 1' -d debug localhost:9966/loglevel
";

/// Paths that POST alone is for, as routes; all others are for GET and HEAD.
const COMMANDS: [&str; 3] = [LOG_LEVEL, RESTART, INJECT];
const LOG_LEVEL: &str = "/loglevel";
const RESTART: &str = "/actors/{name:.+}/restart";
const INJECT: &str = "/faults/inject";

/// Adds the admin endpoints.
pub fn routes(config: &mut web::ServiceConfig, admin: &Arc<Admin>) {
    config
        .app_data(web::Data::from(Arc::clone(admin)))
        .configure(index_route)
        .route("/healthz", web::get().to(healthz))
        .route("/readyz", web::get().to(readyz))
        .route("/version", web::get().to(version))
        .route("/actors", web::get().to(actors))
        .route("/faults", web::get().to(faults))
        .route("/config", web::get().to(settings))
        .route(LOG_LEVEL, web::post().to(loglevel))
        .route(RESTART, web::post().to(restart))
        .default_service(web::to(unanswered));
    #[cfg(feature = "fault-injection")]
    config.route(INJECT, web::post().to(inject));
}

/// Adds what a kubelet asks, for a listener that other machines reach: neither configuration nor
/// commands.
pub fn probe_routes(config: &mut web::ServiceConfig, admin: &Arc<Admin>) {
    config
        .app_data(web::Data::from(Arc::clone(admin)))
        .route("/healthz", web::get().to(healthz))
        .route("/readyz", web::get().to(ready));
}

/// Adds `/` alone.
pub fn index_route(config: &mut web::ServiceConfig) {
    config.route("/", web::get().to(index));
}

/// The page for a browser, the list of endpoints for all others.
async fn index(request: HttpRequest) -> HttpResponse {
    let views = request.app_data::<web::Data<ViewCache>>().cloned();
    if let Some(views) = views.filter(|_| page::is_wanted(&request)) {
        return page::overview(request, views).await;
    }
    // Endpoints about flows and pods: `webb names` and `webb operator` have none.
    let is_agent = request.app_data::<web::Data<Explain>>().is_some();
    let of_agent = if is_agent { [api::INDEX, explain::INDEX, health::INDEX].concat() } else { String::new() };
    let text = [INDEX, &of_agent, COMMANDS_INDEX].concat();
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(text)
}

/// Refuses what no route is for: a path that is not there, or the method of one that is.
async fn unanswered(request: HttpRequest) -> HttpResponse {
    let Some(route) = request.match_pattern() else {
        return HttpResponse::NotFound().body(format!("nothing is at {:?}; / lists what there is\n", request.path()));
    };
    let allowed = if COMMANDS.contains(&route.as_str()) { "POST" } else { "GET, HEAD" };
    let refusal = format!("{} is not answered at {:?}: expected {allowed}\n", request.method(), request.path());
    HttpResponse::MethodNotAllowed().insert_header((ALLOW, allowed)).body(refusal)
}

async fn ready(admin: web::Data<Admin>) -> HttpResponse {
    if admin.is_ready() {
        HttpResponse::Ok().body("ok\n")
    } else {
        HttpResponse::ServiceUnavailable().body("not ready; the admin listener says why\n")
    }
}

/// One component, as `/actors` and `/readyz` show it.
#[derive(Debug, Serialize)]
struct ComponentStatus {
    name: String,
    state: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    restarts: u64,
    faults: std::collections::BTreeMap<&'static str, u64>,
    last_beat_ms_ago: u64,
    queue_depth: u64,
}

impl From<&Arc<Component>> for ComponentStatus {
    fn from(component: &Arc<Component>) -> Self {
        Self {
            name: component.name().to_owned(),
            state: component.state().label(),
            reason: component.reason(),
            restarts: component.restarts(),
            faults: FaultType::ALL.into_iter().map(|kind| (kind.label(), component.faults(kind))).collect(),
            last_beat_ms_ago: component.since_beat_ms(),
            queue_depth: component.queue(),
        }
    }
}

async fn healthz(admin: web::Data<Admin>) -> HttpResponse {
    let silent = admin.components.component(CONTROL).since_beat_ms();
    if silent < CONTROL_BEAT_LIMIT_MS {
        HttpResponse::Ok().body("ok\n")
    } else {
        HttpResponse::ServiceUnavailable().body(format!("the control thread has not moved for {} s\n", silent / 1000))
    }
}

async fn readyz(admin: web::Data<Admin>) -> HttpResponse {
    let components = admin.components.all();
    let (ready, stopping) = (admin.is_ready(), admin.stopping.load(Relaxed));
    let seen: Vec<_> = components
        .iter()
        .map(|component| json!({"name": component.name(), "state": component.state().label(), "reason": component.reason()}))
        .collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let held = privileges::held().map_err(|error| format!("not known: {error}"));
    let privileges = json!({
        "capabilities": held.unwrap_or_else(|error| vec![error]),
        "more": admin.privileges.more(),
        "off": admin.privileges.off(),
        "landlock": restriction(admin.confinement.landlock()),
        "readable": admin.confinement.readable(),
        "seccomp": admin.confinement.seccomp().map(restriction),
    });
    let answer = json!({"ready": ready, "stopping": stopping, "components": seen, "privileges": privileges});
    HttpResponse::build(status).json(answer)
}

/// A restriction: in force, with its extent, or not, with the reason.
fn restriction(restriction: &Restriction) -> Value {
    match restriction {
        Ok(extent) => json!({"enforced": true, "extent": extent}),
        Err(reason) => json!({"enforced": false, "reason": reason}),
    }
}

async fn version(admin: web::Data<Admin>) -> HttpResponse {
    HttpResponse::Ok().json(&admin.version)
}

async fn actors(admin: web::Data<Admin>) -> HttpResponse {
    let seen: Vec<_> = admin.components.all().iter().map(ComponentStatus::from).collect();
    HttpResponse::Ok().json(json!({ "components": seen }))
}

async fn faults(admin: web::Data<Admin>) -> HttpResponse {
    HttpResponse::Ok().json(json!({"faults": admin.components.log().entries()}))
}

async fn settings(admin: web::Data<Admin>) -> HttpResponse {
    HttpResponse::Ok().json(&**admin.config.load())
}

async fn loglevel(admin: web::Data<Admin>, body: String) -> HttpResponse {
    match admin.log.set(body.trim()) {
        Ok(()) => HttpResponse::Ok().body("ok\n"),
        Err(error) => HttpResponse::BadRequest().body(format!("{error}\n")),
    }
}

async fn restart(admin: web::Data<Admin>, name: web::Path<String>) -> HttpResponse {
    if admin.directory.restart(&name) {
        tracing::info!(component = %name, "restart requested");
        HttpResponse::Accepted().body("restarting\n")
    } else {
        let known: Vec<_> = admin.directory.names();
        HttpResponse::NotFound().body(format!("no component {:?}; there are: {}\n", *name, known.join(", ")))
    }
}

/// Query of `POST /faults/inject`.
#[cfg(feature = "fault-injection")]
#[derive(Debug, serde::Deserialize)]
struct Injection {
    point: String,
    #[serde(default = "once")]
    times: u64,
    #[serde(default)]
    stall_ms: u64,
}

#[cfg(feature = "fault-injection")]
fn once() -> u64 {
    1
}

#[cfg(feature = "fault-injection")]
async fn inject(query: web::Query<Injection>) -> HttpResponse {
    webb_flow::fault::inject::arm(&query.point, query.times, query.stall_ms);
    HttpResponse::Ok().body("armed\n")
}
