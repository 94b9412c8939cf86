//! Families: status, verbs, translation of offsets, fences.

use std::str::FromStr;
use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{self, FromRequest, FromRequestParts, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures::future::join_all;
use towpath_plans::transition::Verb;
use towpath_wire::client::TopicPartition;

use super::Shared;
use super::body::{FenceSeen, Fences, LinkBody, PlanChecked, TranslateQuery, Translated, VerbBody};
use super::guard::Caller;
use super::problem::Refusal;
use crate::error::{LinkerError, Side};
use crate::moves::Mover;
use crate::operation::{Operation, OperationView, Request};
use crate::service::Running;
use crate::status::{FamilyStatus, ServiceStatus};

type Begun = Result<(StatusCode, Json<OperationView>), Refusal>;

/// A verb on a family that is linked, and who asks for it.
pub struct Order {
    shared: Shared,
    family: String,
    body: VerbBody,
    request: Request,
}

impl FromRequest<Shared> for Order {
    type Rejection = Response;

    async fn from_request(asked: extract::Request, shared: &Shared) -> Result<Order, Response> {
        let (mut parts, body) = asked.into_parts();
        let family = Path::<String>::from_request_parts(&mut parts, shared).await;
        let Path(family) = family.map_err(IntoResponse::into_response)?;
        let caller = Extension::<Caller>::from_request_parts(&mut parts, shared).await;
        let Extension(caller) = caller.map_err(IntoResponse::into_response)?;
        let body = Json::<VerbBody>::from_request(extract::Request::from_parts(parts, body), shared).await;
        let Json(body) = body.map_err(|refused| Refusal::from(refused).into_response())?;
        known(shared, &family).map_err(IntoResponse::into_response)?;
        let request = caller.sign(&body.request);
        Ok(Order { shared: shared.clone(), family, body, request })
    }
}

/// `GET /v1/status`.
pub async fn all(State(shared): State<Shared>) -> Json<ServiceStatus> {
    Json(ServiceStatus::of(&shared.service))
}

/// `GET /v1/families/{family}/status`.
pub async fn status(
    State(shared): State<Shared>,
    Path(family): Path<String>,
) -> Result<Json<FamilyStatus>, Refusal> {
    match FamilyStatus::of_ended(&shared.service, &family) {
        Some(ended) => Ok(Json(ended)),
        None => Ok(Json(FamilyStatus::of(&*running(&shared, &family)?))),
    }
}

/// `POST /v1/plans/check`: changes nothing.
pub async fn check(
    State(shared): State<Shared>,
    body: Result<Json<LinkBody>, JsonRejection>,
) -> Result<Json<PlanChecked>, Refusal> {
    let Json(body) = body?;
    let checked = shared.service.check(&body.file, &body.yaml).await?;
    Ok(Json(PlanChecked {
        family: checked.file.plan.family.clone(),
        plan_hash: checked.file.plan.hash().to_string(),
        topics: checked.topics,
        source: (&checked.source).into(),
        target: (&checked.target).into(),
        warnings: checked.warnings,
    }))
}

/// `POST /v1/links`.
pub async fn link(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<LinkBody>, JsonRejection>,
) -> Begun {
    let Json(body) = body?;
    begun(shared.service.link(&body.file, &body.yaml, &caller.sign(&body.request)).await)
}

/// `POST /v1/families/{family}/cutover`.
pub async fn cutover(order: Order) -> Begun {
    moved(Verb::Cutover, order).await
}

/// `POST /v1/families/{family}/rollback`.
pub async fn rollback(order: Order) -> Begun {
    moved(Verb::Rollback, order).await
}

async fn moved(verb: Verb, order: Order) -> Begun {
    let Order { shared, family, body, request } = order;
    begun(shared.service.move_groups(verb, &family, body.group.as_deref(), &request).await)
}

/// `POST /v1/families/{family}/pause`.
pub async fn pause(order: Order) -> Begun {
    let Order { shared, family, request, .. } = order;
    begun(shared.service.pause(&family, &request).await)
}

/// `POST /v1/families/{family}/resume`.
pub async fn resume(order: Order) -> Begun {
    let Order { shared, family, body, request } = order;
    let accept_loss = body.accept_loss.iter().map(|text| partition(text)).collect::<Result<_, _>>()?;
    begun(shared.service.resume(&family, accept_loss, &request).await)
}

/// `POST /v1/families/{family}/cancel`.
pub async fn cancel(order: Order) -> Begun {
    let Order { shared, family, request, .. } = order;
    begun(shared.service.cancel(&family, &request).await)
}

/// `POST /v1/families/{family}/complete`.
pub async fn complete(order: Order) -> Begun {
    let Order { shared, family, body, request } = order;
    let group = one_group(&body)?;
    begun(shared.service.complete(&family, group, body.accept_no_stop, &request).await)
}

/// `POST /v1/families/{family}/diff`.
pub async fn diff(order: Order) -> Begun {
    let Order { shared, family, body, request } = order;
    begun(shared.service.diff(&family, body.anew, &request).await)
}

/// `GET /v1/families/{family}/translate?topic&partition&offset&reverse`.
pub async fn translate(
    State(shared): State<Shared>,
    Path(family): Path<String>,
    query: Result<Query<TranslateQuery>, QueryRejection>,
) -> Result<Json<Translated>, Refusal> {
    let Query(query) = query?;
    let running = running(&shared, &family)?;
    let side = if query.reverse { Side::Target } else { Side::Source };
    let id = TopicPartition::new(&query.topic, query.partition);
    // A partition that is not mirrored is a mistake of the caller, an offset without counterpart is an answer.
    running.link.translator.map(&id)?;
    let found = running.link.translator.position(side, &id, query.offset);
    Ok(Json(Translated {
        family,
        topic: query.topic,
        partition: query.partition,
        side,
        offset: query.offset,
        translated: found.as_ref().ok().copied(),
        because: found.err().map(|untranslatable| untranslatable.reason),
    }))
}

/// `GET /v1/families/{family}/fences`: what the journal says, and what stands at the source.
pub async fn fences(
    State(shared): State<Shared>,
    Path(family): Path<String>,
) -> Result<Json<Fences>, Refusal> {
    let running = running(&shared, &family)?;
    let fences = running.movers.values().map(|mover| fence_of(&running, mover));
    Ok(Json(Fences { family, fences: join_all(fences).await }))
}

async fn fence_of(running: &Running, mover: &Mover) -> FenceSeen {
    let record = mover.record();
    let mut alarms = mover.status().map(|status| status.alarms).unwrap_or_default();
    let at_source = match running.fence_of(&record).look().await {
        Ok(seen) => seen.fence.map(|member| member.member_id),
        Err(error) => {
            alarms.push(format!("the source was not asked: {error}"));
            None
        }
    };
    // The state as the journal spells it.
    let state = serde_json::to_value(record.state).ok();
    FenceSeen {
        group: record.group.clone(),
        state: state.as_ref().and_then(|state| state.as_str()).unwrap_or_default().to_owned(),
        instance_id: record.fence_instance_id(),
        held: record.fence.clone(),
        at_source,
        alarms,
    }
}

/// `POST /v1/families/{family}/fences/release`.
pub async fn release_fence(order: Order) -> Begun {
    let Order { shared, family, body, request } = order;
    begun(shared.service.release_fence(&family, one_group(&body)?, &request).await)
}

/// The group that must be named.
fn one_group(body: &VerbBody) -> Result<&str, Refusal> {
    let unnamed = || Refusal::caller(StatusCode::BAD_REQUEST, "no group is named", "name it: `group`");
    body.group.as_deref().ok_or_else(unnamed)
}

/// The running family, or 404 when no plan of this name is linked.
pub fn running(shared: &Shared, family: &str) -> Result<Arc<Running>, Refusal> {
    shared.service.family(family).map_err(|error| unknown(shared, family, error))
}

/// What is the matter with a family that was linked once, the verb says.
fn known(shared: &Shared, family: &str) -> Result<(), Refusal> {
    match shared.service.was_linked(family) {
        true => Ok(()),
        false => running(shared, family).map(drop),
    }
}

/// A refusal about a family that was never linked is a 404.
pub fn unknown(shared: &Shared, family: &str, error: LinkerError) -> Refusal {
    match error {
        LinkerError::Refused { problem, fix } if !shared.service.was_linked(family) => {
            Refusal::caller(StatusCode::NOT_FOUND, problem, fix)
        }
        error => error.into(),
    }
}

fn partition(text: &str) -> Result<TopicPartition, Refusal> {
    let parts = text.rsplit_once('-').and_then(|(topic, index)| Some((topic, i32::from_str(index).ok()?)));
    let Some((topic, index)) = parts else {
        let fix = "name it as `towpath status` does, for example views-0";
        return Err(Refusal::caller(StatusCode::BAD_REQUEST, format!("{text} is no TOPIC-PARTITION"), fix));
    };
    Ok(TopicPartition::new(topic, index))
}

fn begun(operation: Result<Arc<Operation>, LinkerError>) -> Begun {
    Ok((StatusCode::ACCEPTED, Json(operation?.view())))
}
