// The npm package oidc-provider as an OAuth server that rotates: every refresh token is good once,
// and its second use ends the grant. PKCE is required. Whoever comes with a browser agrees at once.
// Its clock can be set ahead.
//
// Arguments: the redirect URI of its one client, and how long refresh tokens live, in seconds.
// Standard output, once it listens: {issuer, client_id, client_secret}.
// POST /ahead with a number of seconds: from now on, the clock is that much ahead of real time.
// It ends when standard input ends.

import { randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import Provider from 'oidc-provider'

const [redirectUri, refreshTokenLife] = process.argv.slice(2)
const ACCOUNT = 'ann'

let ahead = 0
const RealDate = Date
globalThis.Date = class extends RealDate {
  constructor(...parts) {
    super(...(parts.length === 0 ? [RealDate.now() + ahead] : parts))
  }

  static now() {
    return RealDate.now() + ahead
  }
}

async function body(request) {
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

// Logs in and agrees to everything that is asked for.
async function agree(provider, request, response) {
  const { params, prompt } = await provider.interactionDetails(request, response)
  if (prompt.name === 'login') {
    return provider.interactionFinished(request, response, { login: { accountId: ACCOUNT } })
  }
  const grant = new provider.Grant({ accountId: ACCOUNT, clientId: params.client_id })
  grant.addOIDCScope(params.scope)
  const consent = { grantId: await grant.save() }
  return provider.interactionFinished(request, response, { consent }, { mergeWithLastSubmission: true })
}

const server = createServer()
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`
  // Their characters have to be escaped in a form and in HTTP Basic.
  const client = { client_id: 'corp app', client_secret: `${randomBytes(24).toString('base64')}+/%:&` }
  const provider = new Provider(issuer, {
    clients: [{ ...client, grant_types: ['authorization_code', 'refresh_token'], redirect_uris: [redirectUri] }],
    scopes: ['accounts.read', 'accounts.write', 'offline_access'],
    features: { devInteractions: { enabled: false }, introspection: { enabled: true }, revocation: { enabled: true } },
    cookies: { keys: [randomBytes(24).toString('hex')] },
    findAccount: (_, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
    interactions: { url: (_, interaction) => `/agree/${interaction.uid}` },
    pkce: { required: () => true },
    rotateRefreshToken: true,
    ttl: {
      AccessToken: 3600,
      AuthorizationCode: 60,
      Grant: 365 * 24 * 3600,
      Interaction: 600,
      RefreshToken: Number(refreshTokenLife),
      Session: 365 * 24 * 3600,
    },
  })
  const answer = provider.callback()
  server.on('request', async (request, response) => {
    try {
      if (request.method === 'POST' && request.url === '/ahead') {
        ahead = 1000 * Number(await body(request))
        response.end()
      } else if (request.url.startsWith('/agree/')) {
        await agree(provider, request, response)
      } else {
        answer(request, response)
      }
    } catch (error) {
      console.error(error)
      response.writeHead(500).end()
    }
  })
  console.log(JSON.stringify({ issuer, ...client }))
})
process.stdin.resume().on('end', () => process.exit(0))
