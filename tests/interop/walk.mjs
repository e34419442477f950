// What every client does once it is connected: lists, calls, is refused, lets its token expire, and calls again.

export const attempt = async (act) => {
  try { return { result: await act() }; } catch (error) { return { error: { code: error.code, message: String(error.message) } }; }
};

export async function walk(client, [allowed, refused, expiresIn], refreshes = () => undefined) {
  const tool = (name) => attempt(() => client.callTool({ name, arguments: { station: 'oslo' } }));
  const { tools } = await client.listTools();
  const call = await tool(allowed);
  const denied = await tool(refused);
  await new Promise((done) => setTimeout(done, Number(expiresIn) * 1000 + 1100));
  const later = await tool(allowed);
  await client.close();
  console.log(JSON.stringify({ tools: tools.map((one) => one.name), call, denied, later, refreshes: refreshes() }));
  process.exit(0);
}
