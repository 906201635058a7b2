// The npm package oidc-provider as an OAuth server that rotates: every refresh token is good once,
// and its second use ends the grant. PKCE is required. Whoever comes with a browser agrees at once.
//
// Arguments: the redirect URI of its one client, and how long refresh tokens live, in seconds.
// Standard output, once it listens: {issuer, client_id, client_secret}; then "asked" for each
// request for tokens.
// POST /tokens says what becomes of requests for tokens from now on: "answer", "wait" (until it
// says something else), or "lose" the answers.
// It ends when standard input ends.

import { randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import Provider from 'oidc-provider'

const [redirectUri, refreshTokenLife] = process.argv.slice(2)
const ACCOUNT = 'ann'

let tokens = 'answer'
let changed = () => {}

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
  const client = { client_id: 'corp:app+1/%41', client_secret: `${randomBytes(24).toString('base64')}+/%:&` }
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
      if (request.url === '/tokens') {
        tokens = await body(request)
        changed()
        response.end()
      } else if (request.url === '/token') {
        console.log('asked')
        if (tokens === 'wait') await new Promise((resolve) => (changed = resolve))
        // The provider has done its work when it begins to answer.
        if (tokens === 'lose') response.end = () => request.socket.destroy()
        answer(request, response)
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
