// Everything that Dormouse needs in Azure, for `azd up`. No key is made, stored or handed over anywhere:
// one user-assigned identity reaches storage, the model and Application Insights.
targetScope = 'subscription'

// --- where ---

@description('Name of the azd environment; the names of all resources come from it.')
@minLength(1)
@maxLength(40)
param environmentName string

@description('Region of all resources. Must offer Flex Consumption: `az functionapp list-flexconsumption-locations`.')
@minLength(1)
@metadata({ azd: { type: 'location' } })
param location string

@description('Name of the resource group to make or use. Empty: `rg-<environment>`.')
@maxLength(90)
param resourceGroupName string = ''

// --- the model ---

@description('`create`: an Azure OpenAI account with one deployment. `existing`: the account that openAiResourceId names (not deployed yet). `none`: settings for another provider come with extraSettings (not deployed yet).')
@allowed(['create', 'existing', 'none'])
param openAi string = 'create'

@description('Resource id of the account to use with `existing`; it may be in another resource group or subscription, and needs a custom subdomain. Not deployed yet.')
param openAiResourceId string = ''

@description('Region of the account that `create` makes, where the model is offered. Empty: the region of everything else. Not deployed yet.')
param openAiLocation string = ''

@description('Model to deploy with `create`. It must support the Responses API with background mode.')
@minLength(1)
param openAiModel string = 'gpt-5-mini'

@description('Version of that model. Empty: the default of the region.')
param openAiModelVersion string = ''

@description('Name of the deployment: the one to make with `create`, the one to use with `existing`.')
@minLength(1)
@maxLength(64)
param openAiDeployment string = 'gpt-5-mini'

@description('Kind of the deployment: where requests may be processed.')
@allowed(['GlobalStandard', 'DataZoneStandard', 'Standard'])
param openAiSku string = 'GlobalStandard'

@description('Quota of the deployment, in thousands of tokens a minute.')
@minValue(1)
@maxValue(10000)
param openAiCapacity int = 50

// --- the app ---

@description('What wakes the runs: an orchestration for each, or one sweep.')
@allowed(['durable', 'timer'])
param driver string = 'durable'

@description('Memory of an instance in MB. 512 and 4096: not deployed yet.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 2048

@description('Most instances at once. Some regions may refuse less than 40.')
@minValue(1)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('HTTP requests that one instance serves at once. The platform would take 1 for Python, so that every watching tab were an instance.')
@minValue(1)
@maxValue(1000)
param httpConcurrency int = 32

@description('Instances that are always ready for HTTP, billed all the time. Not deployed yet.')
@minValue(0)
@maxValue(20)
param alwaysReadyHttp int = 0

@description('Instances that are always ready for wakes, billed all the time. Not deployed yet.')
@minValue(0)
@maxValue(20)
param alwaysReadyDurable int = 0

@description('Origins of web pages that may call the app, separated by commas, e.g. `https://app.example.com`. Not deployed yet.')
param corsOrigins string = ''

@description('Base of the URLs that the app hands out, if it is reached under a domain of yours. Empty: its own host name. Not deployed yet.')
param publicBaseUrl string = ''

@description('Further app settings by name, such as `{ "DORMOUSE_MAX_TURNS": "40" }`. Secure, so that values do not show in the history of deployments. Not deployed yet.')
@secure()
param extraSettings object = {}

// --- who may call ---

@description('Client id of the Entra app registration that callers get tokens for: App Service authentication is on, and every caller is an owner. Empty: function keys, one owner. Not deployed yet.')
param authClientId string = ''

@description('Tenant whose tokens are taken. Empty: the tenant of the subscription. Not deployed yet.')
param authTenantId string = ''

// --- storage and logs ---

@description('Redundancy of the storage account. ZRS: not deployed yet.')
@allowed(['Standard_LRS', 'Standard_ZRS'])
param storageSku string = 'Standard_LRS'

@description('Days that logs are kept.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 30

@description('Most gigabytes of logs a day, so that a fault cannot run up a bill. -1: no limit.')
@minValue(-1)
@maxValue(1000)
param logDailyCapGb int = 1

var token = uniqueString(subscription().id, environmentName, location)
var groupName = empty(resourceGroupName) ? 'rg-${environmentName}' : resourceGroupName
var tags = { 'azd-env-name': environmentName }
var deploymentContainer = 'deployment'
// Of /subscriptions/<2>/resourceGroups/<4>/providers/Microsoft.CognitiveServices/accounts/<8>; padded, so that each is there.
var openAiIdParts = concat(split(openAiResourceId, '/'), ['', '', '', '', '', '', '', '', ''])
var openAiExists = openAi == 'existing'

resource group 'Microsoft.Resources/resourceGroups@2022-09-01' = {
  name: groupName
  location: location
  tags: tags
}

module identity 'modules/identity.bicep' = {
  name: 'identity'
  scope: group
  params: {
    name: 'id-${token}'
    location: location
    tags: tags
  }
}

module storage 'modules/storage.bicep' = {
  name: 'storage'
  scope: group
  params: {
    name: 'st${token}'
    location: location
    tags: tags
    sku: storageSku
    deploymentContainer: deploymentContainer
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  scope: group
  params: {
    workspaceName: 'log-${token}'
    insightsName: 'appi-${token}'
    location: location
    tags: tags
    retentionDays: logRetentionDays
    dailyCapGb: logDailyCapGb
  }
}

module roles 'modules/roles.bicep' = {
  name: 'roles'
  scope: group
  params: {
    principalId: identity.outputs.principalId
    storageName: storage.outputs.name
    insightsName: monitoring.outputs.insightsName
  }
}

module openAiAccount 'modules/openai.bicep' = if (openAi == 'create') {
  name: 'openai'
  scope: group
  params: {
    name: 'oai-${token}'
    location: empty(openAiLocation) ? location : openAiLocation
    tags: tags
    model: openAiModel
    modelVersion: openAiModelVersion
    deploymentName: openAiDeployment
    deploymentSku: openAiSku
    capacity: openAiCapacity
  }
}

// The role is on the account, wherever that is.
module openAiAccess 'modules/openai-access.bicep' = if (openAi != 'none') {
  name: 'openai-access-${token}'
  scope: resourceGroup(openAiExists ? openAiIdParts[2] : subscription().subscriptionId, openAiExists ? openAiIdParts[4] : groupName)
  params: {
    accountName: openAiExists ? openAiIdParts[8] : openAiAccount!.outputs.name
    principalId: identity.outputs.principalId
  }
}

module app 'modules/app.bicep' = {
  name: 'app'
  scope: group
  params: {
    name: 'func-${token}'
    planName: 'plan-${token}'
    location: location
    // azd finds the app by this tag: it is the name of the service in azure.yaml.
    tags: union(tags, { 'azd-service-name': 'api' })
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    storageName: storage.outputs.name
    deploymentContainer: deploymentContainer
    insightsConnectionString: monitoring.outputs.connectionString
    openAiEndpoint: openAi == 'none' ? '' : openAiAccess!.outputs.endpoint
    openAiDeployment: openAiDeployment
    driver: driver
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    httpConcurrency: httpConcurrency
    alwaysReadyHttp: alwaysReadyHttp
    alwaysReadyDurable: alwaysReadyDurable
    corsOrigins: corsOrigins
    publicBaseUrl: publicBaseUrl
    byAppService: !empty(authClientId)
    extraSettings: extraSettings
  }
  dependsOn: [roles]
}

module auth 'modules/auth.bicep' = if (!empty(authClientId)) {
  name: 'auth'
  scope: group
  params: {
    appName: app.outputs.name
    clientId: authClientId
    tenantId: empty(authTenantId) ? tenant().tenantId : authTenantId
  }
}

@description('Base of all URLs: what a front end is built with.')
output DORMOUSE_BASE_URL string = empty(publicBaseUrl) ? app.outputs.url : publicBaseUrl

@description('For `func azure functionapp publish` and `az functionapp`.')
output AZURE_FUNCTION_APP_NAME string = app.outputs.name

@description('Where everything is.')
output AZURE_RESOURCE_GROUP string = group.name

@description('The model\'s endpoint; empty with `none`.')
output AZURE_OPENAI_ENDPOINT string = openAi == 'none' ? '' : openAiAccess!.outputs.endpoint

@description('The storage account that holds the rows.')
output AZURE_STORAGE_ACCOUNT string = storage.outputs.name
