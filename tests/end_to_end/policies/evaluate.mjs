// Evaluates requests against identity policies, as IAM does. A request that IAM does not know is an
// error, not a denial.
//
// Standard input: [{policy, action, resource, context}]
// Standard output, in the same order: ["Allowed" | "ImplicitlyDenied" | …]

import { readFileSync } from 'node:fs'
import { runSimulation } from '@cloud-copilot/iam-simulate'

const account = '123456789012'
const open = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }] }
const results = []
for (const { policy, action, resource, context } of JSON.parse(readFileSync(0, 'utf8'))) {
  const response = await runSimulation(
    {
      identityPolicies: [{ name: 'policy', policy }],
      resourceControlPolicies: [],
      // A KMS key leaves permissions to IAM, as keys do by default. No other resource has a policy.
      resourcePolicy: action.startsWith('kms:')
        ? { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Principal: { AWS: `arn:aws:iam::${account}:root` }, Action: 'kms:*', Resource: '*' }] }
        : undefined,
      serviceControlPolicies: [{ orgIdentifier: 'o-example', policies: [{ name: 'open', policy: open }] }],
      request: {
        principal: `arn:aws:iam::${account}:role/tested`,
        action,
        resource: { resource, accountId: account },
        contextVariables: context,
      },
    },
    {},
  )
  results.push(response.resultType === 'error' ? `error: ${JSON.stringify(response.errors)}` : response.overallResult)
}
console.log(JSON.stringify(results))
