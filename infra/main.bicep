// Everything that Dormouse needs in Azure, for `azd up`. No key is made, stored or handed over anywhere:
// a user-assigned identity reaches the rows, the model and Application Insights, and another one the package.
targetScope = 'subscription'

// --- where ---

@description('Name of the azd environment; the names of all resources come from it.')
@minLength(1)
@maxLength(40)
param environmentName string

// Where both are offered: Flex Consumption, and the model below as GlobalStandard with the Responses API (documentation of
// Microsoft, July 2026). azd asks the subscription for the quota before it offers a region. infra/README.md says how to use another.
@description('Region of all resources.')
@allowed([
  'australiaeast'
  'brazilsouth'
  'canadacentral'
  'centralus'
  'eastus'
  'eastus2'
  'francecentral'
  'germanywestcentral'
  'italynorth'
  'japaneast'
  'koreacentral'
  'northcentralus'
  'norwayeast'
  'southafricanorth'
  'southcentralus'
  'southeastasia'
  'southindia'
  'spaincentral'
  'swedencentral'
  'uaenorth'
  'uksouth'
  'westus'
  'westus3'
])
@metadata({ azd: { type: 'location', usageName: ['OpenAI.GlobalStandard.gpt-5.4-mini, 50'] } })
param location string

@description('Name of the resource group to make or use. Empty: `rg-<environment>`.')
@maxLength(90)
param resourceGroupName string = ''

// --- the model ---

@description('`create`: an Azure OpenAI account with one deployment. `existing`: the account that openAiResourceId names (not deployed yet). `none`: settings for another provider come with appSettings (not deployed yet).')
@allowed(['create', 'existing', 'none'])
param openAi string = 'create'

@description('Resource id of the account to use with `existing`; it may be in another resource group or subscription, and needs a custom subdomain. Not deployed yet.')
param openAiResourceId string = ''

@description('Region of the account that `create` makes, where the model is offered. Empty: the region of everything else. Not deployed yet.')
param openAiLocation string = ''

@description('Model to deploy with `create`. It must support the Responses API with background mode.')
@minLength(1)
param openAiModel string = 'gpt-5.4-mini'

@description('Version of that model; with another model, another version.')
@minLength(1)
param openAiModelVersion string = '2026-03-17'

@description('Name of the deployment: the one to make with `create`, the one to use with `existing`.')
@minLength(1)
@maxLength(64)
param openAiDeployment string = 'gpt-5.4-mini'

@description('Kind of the deployment: where requests may be processed.')
@allowed(['GlobalStandard', 'DataZoneStandard', 'Standard'])
param openAiSku string = 'GlobalStandard'

@description('Quota of the deployment, in thousands of tokens a minute.')
@minValue(1)
@maxValue(10000)
param openAiCapacity int = 50

// --- the app ---

@description('Size of the deployment: profiles.json says what each is. host.json in the package must be of the same one, which azure.yaml sees to.')
@allowed(['small', 'medium', 'large'])
param profile string = 'medium'

@description('What wakes the runs: an orchestration for each, or one sweep. Empty: what the profile says.')
@allowed(['', 'durable', 'timer'])
param driver string = ''

@description('Where orchestrations are kept: `storage` (queues and tables of the account), or `scheduler` (a Durable Task Scheduler of its own). Empty: what the profile says. `scheduler`: not tried.')
@allowed(['', 'storage', 'scheduler'])
param durableBackend string = ''

@description('Kind of the scheduler: billed by action, or by the month. Not tried.')
@allowed(['Consumption', 'Dedicated'])
param schedulerSku string = 'Consumption'

@description('Memory of an instance in MB. 0: what the profile says. 512 and 4096: not deployed yet.')
@allowed([0, 512, 2048, 4096])
param instanceMemoryMB int = 0

@description('Most instances at once. Some regions may refuse less than 40.')
@minValue(1)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('HTTP requests that one instance serves at once. The platform would take 1 for Python, so that every watching tab were an instance.')
@minValue(1)
@maxValue(1000)
param httpConcurrency int = 32

@description('Instances that are always ready for HTTP, billed all the time. -1: what the profile says. Not deployed yet.')
@minValue(-1)
@maxValue(20)
param alwaysReadyHttp int = -1

@description('Instances that are always ready for wakes, billed all the time. -1: what the profile says. Not deployed yet.')
@minValue(-1)
@maxValue(20)
param alwaysReadyDurable int = -1

@description('Origins of web pages that may call the app, separated by commas, e.g. `https://app.example.com`. Not deployed yet.')
param corsOrigins string = ''

@description('Base of the URLs that the app hands out, if it is reached under a domain of yours. Empty: its own host name. Not deployed yet.')
param publicBaseUrl string = ''

@description('App settings by name; one that is empty is left out. Secure, so that values do not show in the history of deployments. Not deployed yet.')
@secure()
param appSettings object = {}

// --- who may call ---

@description('Client id of the Entra app registration that callers get tokens for: App Service authentication is on, and every caller is an owner. Empty: function keys, one owner. Not deployed yet.')
param authClientId string = ''

@description('Tenant whose tokens are taken. Empty: the tenant of the subscription. Not deployed yet.')
param authTenantId string = ''

@description('Object id of who deploys: gets the data roles on storage, to look at rows and queues. Empty: nobody does. azd fills it in. Not deployed yet.')
param deployerId string = ''

@description('What the deployer is.')
@allowed(['User', 'Group', 'ServicePrincipal'])
param deployerType string = 'User'

// --- storage and logs ---

@description('The rows are in a storage account of their own, apart from the task hub. Not deployed yet.')
param separateRowStorage bool = false

@description('Storage is reached through private endpoints alone, and the app is in a virtual network of its own. The app itself and the model stay on public names. Not deployed yet.')
param privateNetwork bool = false

@description('Makes a key in a Key Vault of its own, and the app encrypts the texts in its rows with it. Not deployed yet.')
param encryptionKey bool = false

@description('Addresses of that network; a /23 or larger, and none that yours use. Not deployed yet.')
param networkAddressPrefix string = '10.90.0.0/22'

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

@description('Who is told of failed runs, overdue runs and full logs. Empty: the alerts are only shown in the portal. Not deployed yet.')
param alertEmail string = ''

@description('Failed runs, or requests answered with 500 or more, in a quarter of an hour that are no alert yet. Not deployed yet.')
@minValue(0)
@maxValue(100000)
param alertFailures int = 5

var profiles = loadJsonContent('profiles.json')
var chosen = profiles[profile]
var usedDriver = empty(driver) ? chosen.driver : driver
var usesScheduler = (empty(durableBackend) ? chosen.durableBackend : durableBackend) == 'scheduler'
var token = uniqueString(subscription().id, environmentName, location)
var groupName = empty(resourceGroupName) ? 'rg-${environmentName}' : resourceGroupName
var tags = { 'azd-env-name': environmentName }
var deploymentContainer = 'deployment'
var storageServices = ['blob', 'queue', 'table']
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

// Stores and fetches the package. Apart from the app's, so that the right to work with rows is none to change the code.
module deploymentIdentity 'modules/identity.bicep' = {
  name: 'deployment-identity'
  scope: group
  params: {
    name: 'id-deploy-${token}'
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
    container: ''
    isPrivate: privateNetwork
  }
}

module packages 'modules/storage.bicep' = {
  name: 'packages'
  scope: group
  params: {
    name: 'stpkg${token}'
    location: location
    tags: tags
    sku: storageSku
    container: deploymentContainer
    isPrivate: privateNetwork
  }
}

module rows 'modules/storage.bicep' = if (separateRowStorage) {
  name: 'rows'
  scope: group
  params: {
    name: 'strow${token}'
    location: location
    tags: tags
    sku: storageSku
    container: ''
    isPrivate: privateNetwork
  }
}

module scheduler 'modules/durable-task-scheduler.bicep' = if (usesScheduler) {
  name: 'scheduler'
  scope: group
  params: {
    name: 'dts-${token}'
    location: location
    tags: tags
    sku: schedulerSku
    hubName: chosen.hubName
    principalId: identity.outputs.principalId
  }
}

module network 'modules/network.bicep' = if (privateNetwork) {
  name: 'network'
  scope: group
  params: {
    name: 'vnet-${token}'
    location: location
    tags: tags
    addressPrefix: networkAddressPrefix
    services: storageServices
  }
}

module storageEndpoints 'modules/private-endpoints.bicep' = if (privateNetwork) {
  name: 'storage-endpoints'
  scope: group
  params: {
    storageName: storage.outputs.name
    location: location
    tags: tags
    subnetId: network!.outputs.endpointsSubnetId
    services: storageServices
  }
}

module rowsEndpoint 'modules/private-endpoints.bicep' = if (privateNetwork && separateRowStorage) {
  name: 'rows-endpoint'
  scope: group
  params: {
    storageName: rows!.outputs.name
    location: location
    tags: tags
    subnetId: network!.outputs.endpointsSubnetId
    services: ['table']
  }
}

module packageEndpoint 'modules/private-endpoints.bicep' = if (privateNetwork) {
  name: 'package-endpoint'
  scope: group
  params: {
    storageName: packages.outputs.name
    location: location
    tags: tags
    subnetId: network!.outputs.endpointsSubnetId
    services: ['blob']
  }
}

module textKey 'modules/encryption-key.bicep' = if (encryptionKey) {
  name: 'encryption-key'
  scope: group
  params: {
    vaultName: 'kv-${token}'
    location: location
    tags: tags
    principalId: identity.outputs.principalId
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

module alerts 'modules/alerts.bicep' = {
  name: 'alerts'
  scope: group
  params: {
    location: location
    tags: tags
    workspaceName: monitoring.outputs.workspaceName
    email: alertEmail
    failuresTolerated: alertFailures
  }
}

module storageAccess 'modules/storage-access.bicep' = {
  name: 'storage-access'
  scope: group
  params: {
    principalId: identity.outputs.principalId
    principalType: 'ServicePrincipal'
    storageName: storage.outputs.name
    tablesOnly: false
  }
}

module rowsAccess 'modules/storage-access.bicep' = if (separateRowStorage) {
  name: 'rows-access'
  scope: group
  params: {
    principalId: identity.outputs.principalId
    principalType: 'ServicePrincipal'
    storageName: rows!.outputs.name
    tablesOnly: true
  }
}

module deployerAccess 'modules/storage-access.bicep' = if (!empty(deployerId)) {
  name: 'deployer-access'
  scope: group
  params: {
    principalId: deployerId
    principalType: deployerType
    storageName: storage.outputs.name
    tablesOnly: false
  }
}

module deployerRowsAccess 'modules/storage-access.bicep' = if (separateRowStorage && !empty(deployerId)) {
  name: 'deployer-rows-access'
  scope: group
  params: {
    principalId: deployerId
    principalType: deployerType
    storageName: rows!.outputs.name
    tablesOnly: true
  }
}

module packageAccess 'modules/package-access.bicep' = {
  name: 'package-access'
  scope: group
  params: {
    principalId: deploymentIdentity.outputs.principalId
    storageName: packages.outputs.name
    container: deploymentContainer
  }
}

module telemetryAccess 'modules/telemetry-access.bicep' = {
  name: 'telemetry-access'
  scope: group
  params: {
    principalId: identity.outputs.principalId
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
    deploymentIdentityId: deploymentIdentity.outputs.id
    storageName: storage.outputs.name
    rowsName: separateRowStorage ? rows!.outputs.name : ''
    schedulerEndpoint: usesScheduler ? scheduler!.outputs.endpoint : ''
    packagesName: packages.outputs.name
    deploymentContainer: deploymentContainer
    subnetId: privateNetwork ? network!.outputs.appSubnetId : ''
    insightsConnectionString: monitoring.outputs.connectionString
    openAiEndpoint: openAi == 'none' ? '' : openAiAccess!.outputs.endpoint
    openAiDeployment: openAiDeployment
    encryptionKeyId: encryptionKey ? textKey!.outputs.keyId : ''
    driver: usedDriver
    profileSettings: union(chosen.settings, chosen.sweep[usedDriver])
    instanceMemoryMB: instanceMemoryMB == 0 ? chosen.instanceMemoryMB : instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    httpConcurrency: httpConcurrency
    alwaysReadyHttp: alwaysReadyHttp < 0 ? chosen.alwaysReadyHttp : alwaysReadyHttp
    alwaysReadyDurable: alwaysReadyDurable < 0 ? chosen.alwaysReadyDurable : alwaysReadyDurable
    corsOrigins: corsOrigins
    publicBaseUrl: publicBaseUrl
    byAppService: !empty(authClientId)
    appSettings: appSettings
  }
  dependsOn: [
    storageAccess
    rowsAccess
    packageAccess
    telemetryAccess
    storageEndpoints
    rowsEndpoint
    packageEndpoint
  ]
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

@description('Object id of the app\'s identity: what a federated credential of the app registration names.')
output AZURE_APP_IDENTITY_OBJECT_ID string = identity.outputs.principalId

@description('What the app registration must allow as a redirect address, for sign-in in a browser.')
output DORMOUSE_SIGN_IN_REDIRECT string = '${empty(publicBaseUrl) ? app.outputs.url : publicBaseUrl}/.auth/login/aad/callback'

@description('Where everything is.')
output AZURE_RESOURCE_GROUP string = group.name

@description('The model\'s endpoint; empty with `none`.')
output AZURE_OPENAI_ENDPOINT string = openAi == 'none' ? '' : openAiAccess!.outputs.endpoint

@description('The storage account that holds the rows.')
output AZURE_STORAGE_ACCOUNT string = separateRowStorage ? rows!.outputs.name : storage.outputs.name
