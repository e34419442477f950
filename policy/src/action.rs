//! What a caller can ask for.

use crate::names::BackendName;

/// An act on one backend. A subscription is decided as the resource that it speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// What the protocol itself needs: initialize, ping, discovery, notifications, streams.
    Protocol,
    /// List tools; the list is filtered.
    ListTools,
    /// List prompts; the list is filtered.
    ListPrompts,
    /// List resources; the list is filtered.
    ListResources,
    /// List resource templates; the list is filtered.
    ListResourceTemplates,
    /// Call a tool.
    CallTool {
        /// Its name.
        name: &'a str,
    },
    /// Ask about a task that an earlier call of a tool began, or end it. It has no arguments of its own: the call had
    /// them, and was permitted with them.
    FollowTask {
        /// The tool's name.
        tool: &'a str,
    },
    /// Get a prompt.
    GetPrompt {
        /// Its name.
        name: &'a str,
    },
    /// Complete the arguments of a prompt.
    CompletePrompt {
        /// Its name.
        name: &'a str,
    },
    /// Read a resource.
    ReadResource {
        /// Its URI.
        uri: &'a str,
    },
    /// Complete the variables of a resource template.
    UseTemplate {
        /// The template, or a URI.
        template: &'a str,
    },
}

impl Action<'_> {
    /// Whether it has arguments (MCP, `tools/call` and `prompts/get`). What a caller writes under that name elsewhere
    /// reaches nothing, and is nothing to decide by.
    pub(crate) fn has_arguments(&self) -> bool {
        match self {
            Self::CallTool { .. } | Self::GetPrompt { .. } => true,
            Self::Protocol
            | Self::ListTools
            | Self::ListPrompts
            | Self::ListResources
            | Self::ListResourceTemplates
            | Self::FollowTask { .. }
            | Self::CompletePrompt { .. }
            | Self::ReadResource { .. }
            | Self::UseTemplate { .. } => false,
        }
    }
}

/// Something that can be permitted.
pub trait Act {
    /// The backend it is meant for.
    fn backend(&self) -> &BackendName;
    /// What it does there.
    fn action(&self) -> Action<'_>;
    /// The arguments of a tool's call or a prompt, an object as JSON; none are as good as an empty one. For any other
    /// action they are not asked for.
    fn arguments(&self) -> Option<&str> {
        None
    }
}
