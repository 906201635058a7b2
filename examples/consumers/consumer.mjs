// Calls a Zoho API with a token from Token Keeper:
//
//   node consumer.mjs crm-prod /crm/v8/org [/PATH...]
//
// It needs Node 22 or newer and @aws-sdk/client-ssm.

import { existsSync, realpathSync } from "node:fs";
import { GetParameterCommand, SSMClient } from "@aws-sdk/client-ssm";

/** One connection. Make one object for the whole program. */
export class Zoho {
  #ssm = new SSMClient();
  #connection;
  #parameter;
  #document;
  #keepUntil = 0;
  #reading;

  constructor(connection, prefix = "token-keeper") {
    this.#connection = connection;
    this.#parameter = `/${prefix}/tokens/${connection}`;
  }

  /** The text of the answer. Without its slash, a path could lead to another host. */
  async get(path) {
    if (!path.startsWith("/")) throw new Error(`a path starts with a slash: ${path}`);
    const document = await this.#liveDocument();
    let answer = await this.#call(document, path);
    if (answer.status === 401) {
      // Perhaps there is a newer token by now. Read it and try once more.
      answer = await this.#call(await this.#liveDocument(document.access_token), path);
    }
    if (answer.ok) return answer.text;
    const code = answer.text.match(/"code":\s*"?(\w+)/)?.[1] ?? "no code";
    const failure = `HTTP ${answer.status} (${code}) for ${path}`;
    if (answer.status !== 401) throw new Error(failure);
    const remedy = `See \`token-keeper list\`, then type: token-keeper refresh ${this.#connection} --force`;
    throw new Error(`${failure}, also after reading the parameter again. ${remedy}`);
  }

  async #call({ api_domain, token_type, access_token }, path) {
    const headers = { Authorization: `${token_type} ${access_token}` };
    const answer = await fetch(api_domain + path, { headers, redirect: "manual", signal: AbortSignal.timeout(30_000) });
    return { status: answer.status, ok: answer.ok, text: await answer.text() };
  }

  async #liveDocument(refused) {
    if (Date.now() < this.#keepUntil && this.#document.access_token !== refused) return this.#document;
    // All callers wait for the same read.
    return (this.#reading ??= this.#read().finally(() => (this.#reading = undefined)));
  }

  async #read() {
    const command = new GetParameterCommand({ Name: this.#parameter, WithDecryption: true });
    const document = await this.#ssm.send(command).then(
      ({ Parameter }) => parsed(Parameter.Value),
      ({ name }) => {
        const check = `does \`token-keeper list\` show ${this.#connection}, and may this program ssm:GetParameter it?`;
        throw new Error(`cannot read ${this.#parameter} (${name}): ${check}`);
      },
    );
    // `expires_at` decides, not `status`: a connection in trouble may still have a live token.
    const { expires_at, status, error } = document;
    const end = Date.parse(expires_at);
    if (!(end > Date.now())) {
      const state = `expires_at ${expires_at}, status ${status}, error ${error}`;
      throw new Error(`${this.#parameter} has no live token (${state}): \`token-keeper list\` says what to do`);
    }
    this.#keepUntil = Math.min(Date.now() + 300_000, end - 60_000);
    return (this.#document = document);
  }
}

/** An error of `JSON.parse` quotes the text, which may contain the token. */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

const [, started = "", connection, ...paths] = process.argv;
if (existsSync(started) && realpathSync(started) === import.meta.filename) {
  try {
    if (!paths.length) throw new Error("usage: consumer.mjs CONNECTION /PATH...");
    const zoho = new Zoho(connection, process.env.TOKEN_KEEPER_PREFIX);
    for (const path of paths) console.log(await zoho.get(path));
  } catch (error) {
    console.error(`consumer.mjs: ${error.message}${error.cause ? `: ${error.cause.message}` : ""}`);
    process.exitCode = 1;
  }
}
