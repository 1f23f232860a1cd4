// Lets the identity call the models of an account. Deployed to the account's own resource group.

@description('Name of the account.')
param accountName string

@description('Principal id of the identity.')
param principalId string

var roles = {
  'Cognitive Services OpenAI User': '5e0bd9bd-7b93-4f28-af87-19fc36ad61bd'
}

resource account 'Microsoft.CognitiveServices/accounts@2024-10-01' existing = {
  name: accountName
}

resource onAccount 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for role in items(roles): {
  name: guid(account.id, principalId, role.value)
  scope: account
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.value)
  }
}]

@description('What AZURE_OPENAI_ENDPOINT must be: `https://<subdomain>.openai.azure.com`.')
output endpoint string = 'https://${account.properties.customSubDomainName}.openai.azure.com'
