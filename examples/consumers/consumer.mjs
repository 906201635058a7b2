// Calls a Zoho API with a token from Token Keeper:
//
//   node consumer.mjs crm-prod /crm/v8/org [/PATH...]
//
// It needs Node 22 or newer, @aws-sdk/client-ssm, and to complain @aws-sdk/client-sqs.

import { existsSync, realpathSync } from "node:fs";
import { SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { GetParameterCommand, SSMClient } from "@aws-sdk/client-ssm";

/** One connection. Make one object for the whole program. */
export class Zoho {
  #ssm = new SSMClient();
  #connection;
  #parameter;
  #complaints;
  #document;
  #keepUntil = 0;
  #reading;

  /** `complaints` is the URL of Token Keeper's queue of complaints. */
  constructor(connection, prefix = "token-keeper", complaints = "") {
    this.#connection = connection;
    this.#complaints = complaints;
    this.#parameter = `/${prefix}/tokens/${connection}`;
  }

  /** The text of the answer. Without its slash, a path could lead to another host. */
  async get(path) {
    if (!path.startsWith("/")) throw new Error(`a path starts with a slash: ${path}`);
    let document = await this.#liveDocument();
    let answer = await this.#call(document, path);
    if (answer.status === 401) {
      // Perhaps there is a newer token by now. Read it and try once more.
      document = await this.#liveDocument(document.access_token);
      answer = await this.#call(document, path);
    }
    if (answer.ok) return answer.text;
    const code = answer.text.match(/"code":\s*"?(\w+)/)?.[1] ?? "no code";
    const failure = `HTTP ${answer.status} (${code}) for ${path}`;
    if (answer.status !== 401) throw new Error(failure);
    let remedy = `See \`token-keeper list\`, then type: token-keeper refresh ${this.#connection} --force`;
    if (code.includes("SCOPE")) remedy = `The consent lacks a scope: token-keeper connect ${this.#connection} --scope ...`;
    // Token Keeper replaces a token that died early.
    else if (this.#complaints) remedy = (await this.#complain(document.issued_at)) ?? remedy;
    throw new Error(`${failure}, also after reading the parameter again. ${remedy}`);
  }

  async #complain(issued_at) {
    const MessageBody = JSON.stringify({ connection: this.#connection, issued_at });
    const to = { QueueUrl: this.#complaints, MessageGroupId: this.#connection };
    return new SQSClient().send(new SendMessageCommand({ ...to, MessageBody })).then(
      () => "Token Keeper has been told, so try again in a minute. If that does not help, see `token-keeper list`",
      ({ name }) => void console.error(`consumer.mjs: Token Keeper could not be told (${name})`),
    );
  }

  async #call({ api_domain, header, token_type, access_token }, path) {
    // Some providers have a header of their own, which takes the bare token.
    const headers = header ? { [header]: access_token } : { Authorization: `${token_type} ${access_token}` };
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
    const zoho = new Zoho(connection, process.env.TOKEN_KEEPER_PREFIX, process.env.COMPLAINTS_QUEUE_URL);
    for (const path of paths) console.log(await zoho.get(path));
  } catch (error) {
    console.error(`consumer.mjs: ${error.message}${error.cause ? `: ${error.cause.message}` : ""}`);
    process.exitCode = 1;
  }
}
