// An MCP server with everything that the conformance suite asks for, on the official TypeScript SDK, for both eras and
// without authentication: node everything.mjs PORT
import { randomUUID } from 'node:crypto';
import { createMcpExpressApp } from '@modelcontextprotocol/express';
import { NodeStreamableHTTPServerTransport, toNodeHandler, toWebRequest } from '@modelcontextprotocol/node';
import {
  acceptedContent, completable, createMcpHandler, createRequestStateCodec, fromJsonSchema, inputRequired, inputResponse,
  isLegacyRequest, McpServer, ResourceNotFoundError, ResourceTemplate,
} from '@modelcontextprotocol/server';
import * as z from 'zod';

const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==';
const WAV = 'UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=';
const PROGRESS = [0, 50, 100];
const later = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const text = (said) => ({ content: [{ type: 'text', text: said }] });
const embedded = (uri, mimeType, body) => ({ type: 'resource', resource: { uri, mimeType, text: body } });
const object = (properties, required = Object.keys(properties)) => ({ type: 'object', properties, required });
const ask = (message, properties, required) => inputRequired.elicit({ message, requestedSchema: object(properties, required) });
const question = (said, maxTokens) => ({ messages: [{ role: 'user', content: { type: 'text', text: said } }], maxTokens });
const state = createRequestStateCodec({ key: randomUUID() + randomUUID() });

// What JSON Schema 2020-12 has beyond the common subset, so that a lossy reader shows.
const DIALECT = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  type: 'object',
  $defs: { address: { $anchor: 'addressDef', type: 'object', properties: { street: { type: 'string' }, city: { type: 'string' } } } },
  properties: {
    name: { type: 'string' }, address: { $ref: '#/$defs/address' }, contactMethod: { type: 'string', enum: ['phone', 'email'] },
    phone: { type: 'string' }, email: { type: 'string' },
  },
  allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
  if: { properties: { contactMethod: { const: 'phone' } }, required: ['contactMethod'] },
  then: { required: ['phone'] },
  else: { required: ['email'] },
  additionalProperties: false,
};

const DEFAULTS = {
  name: { type: 'string', default: 'John Doe' },
  age: { type: 'integer', default: 30 },
  score: { type: 'number', default: 95.5 },
  status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
  verified: { type: 'boolean', default: true },
};
const titled = (...names) => names.map((title, at) => ({ const: `value${at + 1}`, title }));
const ENUMS = {
  untitledSingle: { type: 'string', enum: ['option1', 'option2', 'option3'] },
  titledSingle: { type: 'string', oneOf: titled('First Option', 'Second Option', 'Third Option') },
  legacyEnum: { type: 'string', enum: ['opt1', 'opt2', 'opt3'], enumNames: ['Option One', 'Option Two', 'Option Three'] },
  untitledMulti: { type: 'array', items: { type: 'string', enum: ['option1', 'option2', 'option3'] } },
  titledMulti: { type: 'array', items: { anyOf: titled('First Choice', 'Second Choice', 'Third Choice') } },
};

function contents(tool) {
  tool('test_simple_text', () => text('This is a simple text response for testing.'));
  tool('test_image_content', () => ({ content: [{ type: 'image', data: PNG, mimeType: 'image/png' }] }));
  tool('test_audio_content', () => ({ content: [{ type: 'audio', data: WAV, mimeType: 'audio/wav' }] }));
  tool('test_embedded_resource', () => ({
    content: [embedded('test://embedded-resource', 'text/plain', 'This is an embedded resource content.')],
  }));
  tool('test_multiple_content_types', () => ({
    content: [
      { type: 'text', text: 'Multiple content types test:' },
      { type: 'image', data: PNG, mimeType: 'image/png' },
      embedded('test://mixed-content-resource', 'application/json', '{"test":"data","value":123}'),
    ],
  }));
  tool('test_error_handling', () => {
    throw new Error('This tool intentionally returns an error for testing');
  });
  tool('json_schema_2020_12_tool', () => text('read'), fromJsonSchema(DIALECT));
  const header = object({ region: { type: 'string', 'x-mcp-header': 'Region' } });
  tool('test_header_argument', ({ region }) => text(region), fromJsonSchema(header));
}

function streams(tool, notify) {
  tool('test_tool_with_logging', async (_, { mcpReq }) => {
    for (const said of ['Tool execution started', 'Tool processing data', 'Tool execution completed']) {
      await mcpReq.log('info', said);
      await later(50);
    }
    return text('logged');
  });
  tool('test_logging_tool', async (_, { mcpReq }) => {
    await mcpReq.log('info', 'only for those who asked');
    return text('logged');
  });
  tool('test_tool_with_progress', async (_, { mcpReq }) => {
    const progressToken = mcpReq._meta?.progressToken;
    for (const progress of PROGRESS) {
      if (progressToken !== undefined) {
        await mcpReq.notify({ method: 'notifications/progress', params: { progressToken, progress, total: 100 } });
      }
      await later(50);
    }
    return text(String(progressToken));
  });
  tool('test_reconnection', async (_, { http }) => {
    http?.closeSSE?.();
    await later(100);
    return text('after the stream was closed');
  });
  tool('test_trigger_tool_change', () => {
    notify.toolsChanged();
    return text('changed');
  });
  tool('test_trigger_prompt_change', () => {
    notify.promptsChanged();
    return text('changed');
  });
}

function questions(tool) {
  const answered = (result) => text(`Elicitation completed: action=${result.action}, content=${JSON.stringify(result.content ?? {})}`);
  // On the stream of the call: what is sent without one is lost when the session's own stream is not open yet.
  const elicit = (mcpReq, message, requestedSchema) =>
    mcpReq.send({ method: 'elicitation/create', params: { mode: 'form', message, requestedSchema } });
  tool('test_sampling', async ({ prompt }, { mcpReq }) => {
    const result = await mcpReq.send({ method: 'sampling/createMessage', params: question(prompt, 100) });
    return text(`LLM response: ${result.content.text}`);
  }, z.object({ prompt: z.string() }));
  tool('test_elicitation', async ({ message }, { mcpReq }) => {
    const named = (description) => ({ type: 'string', description });
    const schema = object({ username: named("User's response"), email: named("User's email address") });
    const result = await elicit(mcpReq, message, schema);
    return text(`User response: action=${result.action}, content=${JSON.stringify(result.content ?? {})}`);
  }, z.object({ message: z.string() }));
  tool('test_elicitation_sep1034_defaults', async (_, { mcpReq }) =>
    answered(await elicit(mcpReq, 'Please look through the defaults', object(DEFAULTS, []))));
  tool('test_elicitation_sep1330_enums', async (_, { mcpReq }) =>
    answered(await elicit(mcpReq, 'Please choose', object(ENUMS, []))));
}

function rounds(tool) {
  const name = () => ask('What is your name?', { name: { type: 'string' } });
  const named = z.object({ name: z.string() });
  const asked = (key, request) => inputRequired({ inputRequests: { [key]: request } });
  const confirm = async (step) =>
    inputRequired({ inputRequests: { confirm: ask('Please confirm', { ok: { type: 'boolean' } }) }, requestState: await state.mint(step) });

  tool('test_input_required_result_elicitation', (_, { mcpReq }) => {
    const given = acceptedContent(mcpReq.inputResponses, 'user_name', named);
    return given ? text(`Hello, ${given.name}!`) : asked('user_name', name());
  });
  tool('test_streaming_elicitation', (_, { mcpReq }) => {
    const given = acceptedContent(mcpReq.inputResponses, 'user_name', named);
    return given ? text(given.name) : asked('user_name', name());
  });
  const capital = (_, { mcpReq }) => {
    const given = inputResponse(mcpReq.inputResponses, 'capital_question');
    const request = inputRequired.createMessage(question('What is the capital of France?', 100));
    return given.kind === 'sampling' ? text(given.result.content.text) : asked('capital_question', request);
  };
  tool('test_input_required_result_sampling', capital);
  tool('test_missing_capability', capital);
  tool('test_input_required_result_list_roots', (_, { mcpReq }) => {
    const given = inputResponse(mcpReq.inputResponses, 'client_roots');
    return given.kind === 'roots' ? text(given.roots.map((root) => root.uri).join(' ')) : asked('client_roots', inputRequired.listRoots());
  });
  tool('test_input_required_result_request_state', async (_, { mcpReq }) =>
    mcpReq.requestState() === 'confirmed' && acceptedContent(mcpReq.inputResponses, 'confirm') ? text('state-ok') : confirm('confirmed'));
  tool('test_input_required_result_tampered_state', async (_, { mcpReq }) =>
    mcpReq.requestState() === 'whole' && acceptedContent(mcpReq.inputResponses, 'confirm') ? text('state-ok') : confirm('whole'));
  tool('test_input_required_result_multiple_inputs', async (_, { mcpReq }) => {
    const given = mcpReq.inputResponses;
    if (given && ['user_name', 'greeting', 'client_roots'].every((key) => inputResponse(given, key).kind !== 'missing')) {
      return text('all three');
    }
    const greeting = inputRequired.createMessage(question('Generate a greeting', 50));
    const inputRequests = { user_name: name(), greeting, client_roots: inputRequired.listRoots() };
    return inputRequired({ inputRequests, requestState: await state.mint('three') });
  });
  tool('test_input_required_result_multi_round', async (_, { mcpReq }) => {
    const step = mcpReq.requestState();
    if (step === 2 && acceptedContent(mcpReq.inputResponses, 'step2')) return text('both steps');
    if (step === 1 && acceptedContent(mcpReq.inputResponses, 'step1')) {
      const step2 = ask('Step 2: What is your favorite color?', { color: { type: 'string' } });
      return inputRequired({ inputRequests: { step2 }, requestState: await state.mint(2) });
    }
    const step1 = ask('Step 1: What is your name?', { name: { type: 'string' } });
    return inputRequired({ inputRequests: { step1 }, requestState: await state.mint(1) });
  });
  tool('test_input_required_result_capabilities', (_, { mcpReq }) => {
    const declared = mcpReq.envelope?.['io.modelcontextprotocol/clientCapabilities'] ?? {};
    const inputRequests = {
      ...(declared.elicitation && { user_name: name() }),
      ...(declared.sampling && { greeting: inputRequired.createMessage(question('Generate a greeting', 50)) }),
      ...(declared.roots && { client_roots: inputRequired.listRoots() }),
    };
    return Object.keys(inputRequests).length && !mcpReq.inputResponses ? inputRequired({ inputRequests }) : text('nothing to ask');
  });
}

function resources(server) {
  const one = (name, uri, mimeType, body) =>
    server.registerResource(name, uri, { description: name, mimeType }, () => ({ contents: [{ uri, mimeType, ...body }] }));
  one('static-text', 'test://static-text', 'text/plain', { text: 'This is the content of the static text resource.' });
  one('static-binary', 'test://static-binary', 'image/png', { blob: PNG });
  one('watched-resource', 'test://watched-resource', 'text/plain', { text: 'watched' });
  const template = new ResourceTemplate('test://template/{id}/data', { list: undefined });
  const described = { description: 'by its id', mimeType: 'application/json' };
  server.registerResource('template', template, described, (uri, { id }) => {
    if (!id) throw new ResourceNotFoundError(uri.href);
    const body = JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` });
    return { contents: [{ uri: uri.href, mimeType: 'application/json', text: body }] };
  });
}

function prompts(server) {
  const messages = (...all) => ({ messages: all.map((content) => ({ role: 'user', content })) });
  const said = (body) => ({ type: 'text', text: body });
  const prompt = (name, build, argsSchema) => server.registerPrompt(name, { description: name, argsSchema }, build);
  prompt('test_simple_prompt', () => messages(said('This is a simple prompt for testing.')));
  const arg1 = completable(z.string(), (begun) => ['paris', 'park', 'party'].filter((word) => word.startsWith(begun)));
  prompt('test_prompt_with_arguments',
    ({ arg1: first, arg2: second }) => messages(said(`Prompt with arguments: arg1='${first}', arg2='${second}'`)),
    z.object({ arg1, arg2: z.string() }));
  prompt('test_prompt_with_embedded_resource',
    ({ resourceUri }) => messages(embedded(resourceUri, 'text/plain', 'Embedded resource content for testing.'),
      said('Please process the embedded resource above.')),
    z.object({ resourceUri: z.string() }));
  prompt('test_prompt_with_image', () =>
    messages({ type: 'image', data: PNG, mimeType: 'image/png' }, said('Please analyze the image above.')));
  server.registerPrompt('test_input_required_result_prompt', { description: 'asks first' }, ({ mcpReq }) => {
    const given = acceptedContent(mcpReq.inputResponses, 'user_context');
    if (given) return messages(said(`In this context: ${given.context}`));
    const user_context = ask('What context should the prompt use?', { context: { type: 'string' } });
    return inputRequired({ inputRequests: { user_context } });
  });
}

// Whom a changed list concerns: the subscriptions of the modern era, and the one server of a session of the older.
let notify;
function make(context) {
  const changed = { listChanged: true };
  const server = new McpServer({ name: 'everything', version: '1.0.0' }, {
    capabilities: { tools: changed, prompts: changed, resources: { subscribe: true, ...changed }, logging: {}, completions: {} },
    requestState: { verify: state.verify },
  });
  const tool = (name, run, inputSchema = z.object({})) => server.registerTool(name, { description: name, inputSchema }, run);
  const older = { toolsChanged: () => server.sendToolListChanged(), promptsChanged: () => server.sendPromptListChanged() };
  contents(tool);
  streams(tool, context?.era === 'modern' ? notify : older);
  questions(tool);
  rounds(tool);
  resources(server);
  prompts(server);
  if (context?.era !== 'modern') {
    server.server.setRequestHandler('resources/subscribe', () => ({}));
    server.server.setRequestHandler('resources/unsubscribe', () => ({}));
  }
  return server;
}

// Events of one process, so that a stream can be taken up again.
class Events {
  #kept = [];

  async storeEvent(stream, message) {
    this.#kept.push([stream, message]);
    return `${stream}_${this.#kept.length}`;
  }

  async getStreamIdForEventId(event) {
    return event.slice(0, event.lastIndexOf('_'));
  }

  async replayEventsAfter(event, { send }) {
    const stream = await this.getStreamIdForEventId(event);
    const last = Number(event.slice(stream.length + 1));
    for (const [at, [of, message]] of this.#kept.entries()) {
      if (at >= last && of === stream && Object.keys(message).length) await send(`${stream}_${at + 1}`, message);
    }
    return stream;
  }
}

const sessions = new Map();
async function older(request, response) {
  const id = request.headers['mcp-session-id'];
  if (id !== undefined && !sessions.has(id)) {
    response.status(404).json({ jsonrpc: '2.0', error: { code: -32001, message: 'Session not found' }, id: null });
    return;
  }
  let transport = sessions.get(id);
  if (!transport) {
    transport = new NodeStreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      eventStore: new Events(),
      retryInterval: 500,
      onsessioninitialized: (session) => void sessions.set(session, transport),
      onsessionclosed: (session) => void sessions.delete(session),
    });
    await make({ era: 'legacy' }).connect(transport);
  }
  await transport.handleRequest(request, response, request.body);
}

const modern = createMcpHandler(make, { legacy: 'reject' });
notify = modern.notify;
const face = toNodeHandler(modern);
const app = createMcpExpressApp();
app.all('/mcp', async (request, response) => {
  const body = request.method === 'POST' ? request.body : undefined;
  const old = await isLegacyRequest(await toWebRequest(request, body), body);
  await (old ? older(request, response) : face(request, response, body));
});
app.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('ready'));
