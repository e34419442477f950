//! What a message asks of the policy.

use portcullis_policy::{Act, Action, BackendName};

use super::client_message::ClientMessage;
use super::method::Method;
use super::target::Target;

impl Act for ClientMessage {
    fn backend(&self) -> &BackendName {
        ClientMessage::backend(self)
    }

    fn arguments(&self) -> Option<&str> {
        // A member of that name in another method is none that a server reads, and no policy goes by it.
        matches!(self.target(), Some(Target::Tool(_) | Target::Prompt(_))).then(|| ClientMessage::arguments(self))?
    }

    fn action(&self) -> Action<'_> {
        match (self.target(), self.method()) {
            (Some(Target::Tool(name)), _) => Action::CallTool { name },
            (Some(Target::Task(task)), _) => Action::FollowTask { tool: &task.tool },
            (Some(Target::Prompt(name)), _) => Action::GetPrompt { name },
            (Some(Target::PromptReference(name)), _) => Action::CompletePrompt { name },
            (Some(Target::Resource(uri)), _) => Action::ReadResource { uri },
            (Some(Target::TemplateReference(template)), _) => Action::UseTemplate { template },
            (None, Some(Method::ToolsList)) => Action::ListTools,
            (None, Some(Method::PromptsList)) => Action::ListPrompts,
            (None, Some(Method::ResourcesList)) => Action::ListResources,
            (None, Some(Method::ResourceTemplatesList)) => Action::ListResourceTemplates,
            // INVARIANT: every method that is decided by a name or a URI has a target, or it was refused when read.
            (None, _) => Action::Protocol,
        }
    }
}

/// Opening the stream of a session (GET, revisions up to 2025-11-25).
#[derive(Clone, Debug)]
pub struct OpenStream(pub BackendName);

/// Ending a session (DELETE, revisions up to 2025-11-25).
#[derive(Clone, Debug)]
pub struct EndSession(pub BackendName);

impl Act for OpenStream {
    fn backend(&self) -> &BackendName {
        &self.0
    }

    fn action(&self) -> Action<'_> {
        Action::Protocol
    }
}

impl Act for EndSession {
    fn backend(&self) -> &BackendName {
        &self.0
    }

    fn action(&self) -> Action<'_> {
        Action::Protocol
    }
}
