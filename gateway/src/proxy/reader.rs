//! Who an answer is for, and what becomes of it on the way: lists filtered, introductions trimmed, states, tasks and
//! event ids sealed, questions that the backend's features do not cover left out. One type all through, and longer than
//! other files for that.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::Door;
use super::asked::Whom;
use super::current::Now;
use super::mount::Mount;
use super::operation::Told;
use super::seals::CallerSeals;
use super::session::Session;
use super::standing::{Seen, Standing};
use crate::authn::VerifiedIdentity;
use crate::backend::Upstream;
use crate::mcp::answer::{self, Answer};
use crate::mcp::capabilities::{self, Reach};
use crate::mcp::event_id::{self, Origin};
use crate::mcp::list_filter::{self, Fate, Filtered, ListKind, Unreadable};
use crate::mcp::outcome::{Question, settle_answer};
use crate::mcp::sse::Event;
use crate::mcp::{
    ClientMessage, Era, Fault, Features, Kind, Method, Place, RequestId, Seals, Target, Terms, settle_error,
    settle_server_message,
};

/// Whose answer it is: what was asked, by whom, in which session.
pub(super) struct Reader<'a> {
    door: &'a Door,
    mount: &'a Mount,
    pub(super) identity: &'a VerifiedIdentity,
    pub(super) session: &'a Session,
    /// Names the session that events and questions are of: the one of the request, or the one that the answer begins.
    key: Cow<'a, [u8]>,
    pub(super) purpose: Purpose,
    /// The request that is answered; none where none is.
    pub(super) id: Option<RequestId>,
    pub(super) method: Option<Method>,
    era: Era,
    target: Option<&'a Target>,
    /// Whether the session that the answer may begin is one of batches.
    pub(super) may_batch: bool,
    /// The server that answers, where there are several.
    server: Option<&'a str>,
    /// The stream of events, once something is asked on it.
    stream: OnceLock<Arc<()>>,
    /// What the answer says went wrong.
    pub(super) told: Told,
}

/// What an exchange with a backend is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A request gets its answer.
    Answer,
    /// A client listens: to its session, or to the rest of a stream that broke off.
    Stream,
    /// Something is taken, and no more is said of it: a notification, an answer of the client, the end of a session.
    Receipt,
}

/// The rules of one moment.
struct Rules<'d> {
    door: Now<'d>,
    standing: Arc<Standing>,
    features: Features,
    /// Whether the caller is let in at all.
    admits: bool,
}

/// What becomes of one event.
pub(super) enum Passed {
    /// It goes on, like this.
    On(Bytes),
    /// It does not belong here and is left out.
    Dropped,
    /// It goes on, like this, and is the last.
    Last(Bytes),
    /// What was asked for is not open to the caller any more, and nothing follows.
    Closed,
}

impl Door {
    /// The seals of a caller on a backend.
    pub(super) fn seals<'a>(&'a self, mount: &'a Mount, identity: &'a VerifiedIdentity) -> CallerSeals<'a> {
        let clock = &*self.clock;
        CallerSeals::new(&self.sealer, &mount.name, identity.subject(), clock)
    }
}

impl<'a> Reader<'a> {
    /// The reader of the answer to a message.
    pub(super) fn of_message(
        (door, mount): (&'a Door, &'a Mount),
        message: &'a ClientMessage,
        identity: &'a VerifiedIdentity,
        session: &'a Session,
    ) -> Self {
        let (purpose, id) = match message.kind() {
            Kind::Request => (Purpose::Answer, message.id().cloned()),
            _ => (Purpose::Receipt, None),
        };
        let (method, era, target) = (message.method(), message.era(), message.target());
        let may_batch = message.may_batch();
        Self { id, method, era, target, may_batch, ..Self::new((door, mount), identity, session, purpose) }
    }

    fn new(
        (door, mount): (&'a Door, &'a Mount),
        identity: &'a VerifiedIdentity,
        session: &'a Session,
        purpose: Purpose,
    ) -> Self {
        let (key, era) = (Cow::Borrowed(session.key.as_slice()), Era::Legacy);
        let (id, method, target, server) = (None, None, None, None);
        let (stream, told, may_batch) = (OnceLock::new(), Told::new(), false);
        Self { door, mount, identity, session, key, purpose, id, method, era, target, may_batch, server, stream, told }
    }

    /// The answer is this server's: what it gives comes back to it.
    pub(super) fn answered_by(mut self, upstream: &'a Upstream) -> Self {
        self.server = self.mount.replicas.mark(upstream);
        self
    }

    /// The answer begins a session, if it answers `initialize` and gives one this id.
    pub(super) fn beginning(mut self, raw: Option<&str>) -> Self {
        if let Some(raw) = raw.filter(|_| self.introduces_client()) {
            let (backend, subject) = (&self.mount.name, self.identity.subject());
            self.key = Session::key_of(backend, subject, self.server, raw).into();
        }
        self
    }

    /// The reader of a session's stream; of the rest of the one that was to answer `origin`, where the client says so.
    pub(super) fn of_stream(
        (door, mount): (&'a Door, &'a Mount),
        identity: &'a VerifiedIdentity,
        session: &'a Session,
        origin: Option<&'a Origin>,
    ) -> Self {
        let reader = Self::new((door, mount), identity, session, Purpose::Stream);
        let Some(Origin { id, method, target }) = origin else { return reader };
        Self { id: Some(id.clone()), method: Some(*method), target: target.as_ref(), ..reader }
    }

    /// The reader of what is said of a session's end.
    pub(super) fn of_end(
        (door, mount): (&'a Door, &'a Mount),
        identity: &'a VerifiedIdentity,
        session: &'a Session,
    ) -> Self {
        Self::new((door, mount), identity, session, Purpose::Receipt)
    }

    /// Whether a session may begin with the answer.
    pub(super) fn introduces_client(&self) -> bool {
        self.purpose == Purpose::Answer && self.method == Some(Method::Initialize)
    }

    /// Whether a client may resume the stream behind this event, should it break off there.
    pub(super) fn may_resume_after(&self, event: &Event) -> bool {
        let in_session = self.session.raw.is_some() || matches!(self.key, Cow::Owned(_));
        in_session && self.era == Era::Legacy && event.id().is_some_and(|id| !id.is_empty())
    }

    /// The list that the answer holds, if it is one that is filtered.
    fn list(&self) -> Option<ListKind> {
        match self.method? {
            Method::ToolsList => Some(ListKind::Tools),
            Method::PromptsList => Some(ListKind::Prompts),
            Method::ResourcesList => Some(ListKind::Resources),
            Method::ResourceTemplatesList => Some(ListKind::ResourceTemplates),
            Method::Discover => Some(ListKind::Nothing),
            _ => None,
        }
    }

    fn view<'s>(&self, standing: &'s Standing) -> Seen<'s> {
        standing.view(self.identity.subject(), &self.mount.name)
    }

    /// What counts when this is asked: a stream may be open for longer than a policy.
    fn rules(&self) -> Rules<'a> {
        let door = self.door.now();
        let (features, admits) = match &door {
            Now::Same(_) => (self.mount.features, true),
            Now::Another(door) => door.mount(&self.mount.name).map_or((Features::none(), false), |mount| {
                // Whoever was promised a task gets it sealed, be it of no more use.
                let tasks = mount.features.tasks || self.mount.features.tasks;
                (Features { tasks, ..mount.features }, mount.admits(self.identity))
            }),
        };
        Rules { standing: door.standing(), door, features, admits }
    }

    /// The one answer to this request, as the caller may see it.
    pub(super) fn rewrite_answer(&self, body: &Bytes) -> Result<Bytes, Unreadable> {
        let id = self.id.as_ref().ok_or(Unreadable)?;
        let introduces = matches!(self.method, Some(Method::Initialize | Method::Discover));
        let body = &if introduces { self.introduce(body, id)? } else { body.clone() };
        if let Some(kind) = self.list() {
            return self.filter(body, kind, id);
        }
        match answer::read(body) {
            Some(Answer::Response { id: Some(answered), is_result: true }) if answered == *id => {
                self.tells(Fault::of_result(body, self.method));
                self.settle(body)
            }
            Some(Answer::Response { id: Some(answered), .. }) if answered == *id => {
                self.tells(Some(Fault::of_error(body)));
                settle_error(body, self.rules().features)
            }
            Some(Answer::Response { id: None, .. }) => {
                self.tells(Some(Fault::of_error(body)));
                settle_error(&answer::address_error(body, id).ok_or(Unreadable)?, self.rules().features)
            }
            _ => Err(Unreadable),
        }
    }

    fn tells(&self, fault: Option<Fault>) {
        if let Some(fault) = fault {
            // An answer is read once.
            let _ = self.told.set(fault);
        }
    }

    /// The list as the caller may see it; one that was seen before under the same keys is not read again.
    fn filter(&self, body: &Bytes, kind: ListKind, id: &RequestId) -> Result<Bytes, Unreadable> {
        let rules = self.rules();
        let (view, lists) = (self.view(&rules.standing), &rules.door.lists);
        let terms = view.terms().map(|(mask, serial)| (mask, serial, kind, self.era));
        let sight = terms.and_then(|terms| lists.sight(body, id, terms));
        if let Some(filtered) = sight.as_ref().and_then(|sight| lists.get(sight)) {
            return Ok(self.counted(filtered));
        }
        let filtered =
            list_filter::filter_items(body, kind, id, self.era, &mut |name, item| shows(&view, kind, name, item))?;
        if filtered.shown + filtered.hidden == 0 {
            self.tells(Fault::of_either(body));
        }
        if let Some(sight) = sight {
            lists.insert(sight, id, &filtered);
        }
        Ok(self.counted(filtered))
    }

    fn settle(&self, body: &Bytes) -> Result<Bytes, Unreadable> {
        let Some(method) = self.method else { return Ok(body.clone()) };
        let question = Question { method, era: self.era, target: self.target };
        self.on_terms(&self.rules(), |terms| settle_answer(body, &question, terms))
    }

    /// What the server says of its own accord, on the terms of the caller; `None` when it stays as it is.
    fn settle_own(&self, data: &str, rules: &Rules<'_>) -> Result<Option<String>, Unreadable> {
        self.on_terms(rules, |terms| settle_server_message(data, self.target, terms))
    }

    fn on_terms<T>(&self, rules: &Rules<'_>, settle: impl FnOnce(&Terms<'_>) -> T) -> T {
        let seals = self.door.seals(self.mount, self.identity).of_server(self.server);
        let hides = |name: &str| self.view(&rules.standing).hides(name);
        let resource = |uri: &str| self.view(&rules.standing).resource(uri);
        settle(&Terms { features: rules.features, seals: &seals, resource: &resource, hides: &hides })
    }

    fn introduce(&self, body: &Bytes, id: &RequestId) -> Result<Bytes, Unreadable> {
        let rules = self.rules();
        let view = self.view(&rules.standing);
        let opens = |kind| reaches(&view, kind);
        let is_closed = |name: &str| view.hides(name);
        let reach = Reach { features: rules.features, opens: &opens, is_closed: &is_closed };
        let trimmed = capabilities::trim(body, id, &reach)?;
        if let Some(bytes) = trimmed.unread {
            tracing::warn!(backend = %self.mount.name, bytes, "instructions that are too long to be read are left out");
        }
        Ok(trimmed.body)
    }

    fn counted(&self, filtered: Filtered) -> Bytes {
        self.mount.series.shown.inc_by(filtered.shown as u64);
        self.mount.series.hidden.inc_by(filtered.hidden as u64);
        filtered.body
    }

    /// The answer to this request, when this event is it.
    pub(super) fn answer_in(&self, event: &Event) -> Result<Option<Bytes>, Unreadable> {
        if event.is_malformed() {
            return Err(Unreadable);
        }
        let Some(data) = event.data().filter(|data| !data.is_empty()) else { return Ok(None) };
        match answer::read(data.as_bytes()).ok_or(Unreadable)? {
            Answer::Response { .. } => self.rewrite_answer(&data.into()).map(Some),
            Answer::Request { .. } | Answer::Notification { .. } => Ok(None),
        }
    }

    /// One event of a stream.
    pub(super) fn rewrite_event(&self, event: &Event) -> Result<Passed, Unreadable> {
        if event.is_malformed() {
            return Err(Unreadable);
        }
        let rules = self.rules();
        if !self.is_open_by(&rules) {
            return Ok(Passed::Closed);
        }
        let Some(data) = event.data().filter(|data| !data.is_empty()) else {
            return Ok(Passed::On(self.sealed(event, None)?));
        };
        let answer = answer::read(data.as_bytes()).ok_or(Unreadable)?;
        if !answer::passes(&answer, &data, self.era, rules.features) {
            return Ok(Passed::Dropped);
        }
        if let Answer::Response { id, .. } = &answer {
            return self.rewrite_response(event, id.as_ref(), &data.into());
        }
        let Ok(settled) = self.settle_own(&data, &rules) else { return Ok(Passed::Dropped) };
        let settled = settled.as_deref().map(str::as_bytes);
        match answer {
            Answer::Notification { method } => {
                self.rewrite_notification(event, &method, (data.as_bytes(), settled), &rules.standing)
            }
            Answer::Request { id, .. } if self.ask(&id) => Ok(Passed::On(self.sealed(event, settled)?)),
            _ => Ok(Passed::Dropped),
        }
    }

    /// Notes what the server asks; whether it may.
    fn ask(&self, id: &RequestId) -> bool {
        let whom = Whom { backend: &self.mount.name, caller: self.identity.subject(), session: &self.key };
        self.door.asked.ask(whom, id.clone(), self.server, self.stream.get_or_init(Arc::default))
    }

    fn rewrite_notification(
        &self,
        event: &Event,
        method: &str,
        (data, settled): (&[u8], Option<&[u8]>),
        standing: &Standing,
    ) -> Result<Passed, Unreadable> {
        let view = self.view(standing);
        if method == answer::RESOURCE_UPDATED {
            let uri = answer::updated_resource(data).ok_or(Unreadable)?;
            if !view.resource(&uri) {
                return Ok(Passed::Dropped);
            }
        }
        if method == answer::TOOLS_CHANGED {
            standing.changed(&self.mount.name);
        }
        let Some(list) = answer::changed_list(method) else { return Ok(Passed::On(self.sealed(event, settled)?)) };
        if !reaches(&view, list) {
            return Ok(Passed::Dropped);
        }
        let bare = answer::bare_notification(method, data).ok_or(Unreadable)?;
        Ok(Passed::On(self.sealed(event, Some(&bare))?))
    }

    fn rewrite_response(&self, event: &Event, id: Option<&RequestId>, data: &Bytes) -> Result<Passed, Unreadable> {
        // A client that listens gets the answer to the request whose stream it resumes (2025-11-25, Streamable HTTP
        // section Listening for Messages); any other is of another stream, or of another caller.
        if self.purpose == Purpose::Stream && (id.is_none() || id != self.id.as_ref()) {
            tracing::warn!(backend = %self.mount.name, "an answer to no request of its stream is left out");
            return Ok(Passed::Dropped);
        }
        let body = self.rewrite_answer(data)?;
        let changed = Some(body).filter(|body| body != data);
        Ok(Passed::Last(self.sealed(event, changed.as_deref())?))
    }

    /// Whether what was asked for is open still: an answer may come long after its request was decided.
    fn is_open_by(&self, rules: &Rules<'_>) -> bool {
        rules.admits && self.target.is_none_or(|target| self.view(&rules.standing).opens(target))
    }

    /// Waits until a reload closes what was asked for.
    pub(super) async fn closed(&self) {
        let mut reloads = self.door.over.subscribe();
        while self.is_open_by(&self.rules()) {
            if reloads.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The event with new data, if any, and its id sealed for this session: an id that was not given to a session is
    /// worth nothing there. From 2026-07-28 on streams are not resumed, and events have no ids.
    fn sealed(&self, event: &Event, data: Option<&[u8]>) -> Result<Bytes, Unreadable> {
        let id = match event.id() {
            None if data.is_none() && event.is_plain() => return Ok(event.bytes().clone()),
            None => None,
            Some(_) if self.era == Era::Modern => None,
            Some("") => Some(String::new()),
            Some(id) => self.event_id(id)?,
        };
        Ok(event.with(data, id.as_deref()))
    }

    /// The id of an event as the client gets to hold it; none where it is too long to be shown again.
    fn event_id(&self, raw: &str) -> Result<Option<String>, Unreadable> {
        let request = self.id.as_ref().zip(self.method).map(|(id, method)| (id, method, self.target));
        let Some(tied) = event_id::tie(raw, request) else { return Ok(None) };
        let seals = self.door.seals(self.mount, self.identity);
        seals.seal(Place::Event { session: &self.key }, &tied).map(Some).ok_or(Unreadable)
    }
}

/// Whether there is anything of this kind that could be open.
fn reaches(view: &Seen<'_>, kind: ListKind) -> bool {
    match kind {
        ListKind::Tools => view.reaches_tools(),
        ListKind::Prompts => view.reaches_prompts(),
        ListKind::Resources | ListKind::ResourceTemplates => view.reaches_resources(),
        ListKind::Nothing => false,
    }
}

fn shows(view: &Seen<'_>, kind: ListKind, name: &str, item: &str) -> Fate {
    match kind {
        ListKind::Tools => view.tool(name, item),
        ListKind::Prompts => view.prompt_item(name, item),
        ListKind::Resources => Fate::shown_if(view.resource(name)),
        ListKind::ResourceTemplates => Fate::shown_if(view.resource_template(name)),
        ListKind::Nothing => Fate::Hidden,
    }
}
