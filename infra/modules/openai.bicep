// An Azure OpenAI account with one deployment, for identities only.

@description('Name of the account, and its custom subdomain: tokens of Entra need one.')
@minLength(2)
@maxLength(64)
param name string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Model to deploy.')
param model string

@description('Version of the model.')
param modelVersion string

@description('Name of the deployment.')
param deploymentName string

@description('Kind of the deployment.')
param deploymentSku string

@description('Thousands of tokens a minute.')
param capacity int

resource account 'Microsoft.CognitiveServices/accounts@2024-10-01' = {
  name: name
  location: location
  tags: tags
  kind: 'OpenAI'
  sku: { name: 'S0' }
  properties: {
    customSubDomainName: name
    disableLocalAuth: true
    publicNetworkAccess: 'Enabled'
  }
}

resource deployment 'Microsoft.CognitiveServices/accounts/deployments@2024-10-01' = {
  parent: account
  name: deploymentName
  sku: {
    name: deploymentSku
    capacity: capacity
  }
  properties: {
    model: {
      format: 'OpenAI'
      name: model
      version: modelVersion
    }
    // The version stays until it is retired, and is replaced then rather than refused.
    versionUpgradeOption: 'OnceCurrentVersionExpired'
  }
}

@description('Name of the account.')
output name string = account.name
