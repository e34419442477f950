// A TypeScript SDK server without any authentication: node server.mjs PORT
import { createServer } from 'node:http';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import * as z from 'zod';

const make = () => {
  const server = new McpServer({ name: 'typescript', version: '1.0.0' });
  const station = z.object({ station: z.string() });
  for (const name of ['get_forecast', 'delete_station']) {
    server.registerTool(name, { description: name, inputSchema: station }, async ({ station: at }) => ({
      content: [{ type: 'text', text: `${name} ${at}` }],
    }));
  }
  return server;
};
createServer(toNodeHandler(createMcpHandler(make))).listen(Number(process.argv[2]), '127.0.0.1', () => console.log('ready'));
