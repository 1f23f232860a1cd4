// The app on Flex Consumption, and its settings.

@description('Name of the app.')
param name string

@description('Name of the plan.')
param planName string

@description('Region.')
param location string

@description('Tags; azd finds the app by one of them.')
param tags object

@description('Resource id of the identity that the app works as.')
param identityId string

@description('Client id of that identity.')
param identityClientId string

@description('Resource id of the identity that stores and fetches the package.')
param deploymentIdentityId string

@description('Storage account of the task hub, and of the rows unless they have one of their own.')
param storageName string

@description('Storage account of the rows; empty: that of the task hub.')
param rowsName string

@description('Endpoint of the Durable Task Scheduler; empty: the task hub is in storage.')
param schedulerEndpoint string

@description('Storage account of the package.')
param packagesName string

@description('Container of the package.')
param deploymentContainer string

@description('Subnet that the app reaches storage through; empty: none.')
param subnetId string

@description('Where telemetry goes.')
param insightsConnectionString string

@description('Azure OpenAI; empty: another provider.')
param openAiEndpoint string

@description('Name of the model\'s deployment.')
param openAiDeployment string

@description('Id of the key that texts in the rows are encrypted with; empty: they are not, unless appSettings name one.')
param encryptionKeyId string

@description('What wakes the runs.')
param driver string

@description('App settings of the profile; `appSettings` win over them.')
param profileSettings object

@description('Memory of an instance in MB.')
param instanceMemoryMB int

@description('Most instances at once.')
param maximumInstanceCount int

@description('HTTP requests that one instance serves at once.')
param httpConcurrency int

@description('Instances that are always ready for HTTP.')
param alwaysReadyHttp int

@description('Instances that are always ready for wakes.')
param alwaysReadyDurable int

@description('Origins of web pages, separated by commas.')
param corsOrigins string

@description('Base of the URLs that the app hands out; empty: its own host name.')
param publicBaseUrl string

@description('Whether App Service authentication says who calls.')
param byAppService bool

@description('App settings by name; they win over those here. One that is empty is left out, so that the app takes its own default.')
@secure()
param appSettings object

var always = {
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identityClientId
  AzureWebJobsStorage__blobServiceUri: storage.properties.primaryEndpoints.blob
  AzureWebJobsStorage__queueServiceUri: storage.properties.primaryEndpoints.queue
  AzureWebJobsStorage__tableServiceUri: storage.properties.primaryEndpoints.table
  APPLICATIONINSIGHTS_CONNECTION_STRING: insightsConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
  AZURE_CLIENT_ID: identityClientId
  PYTHON_ENABLE_INIT_INDEXING: '1'
  DORMOUSE_DRIVER: driver
  DORMOUSE_AUTH: byAppService ? 'appservice' : 'key'
  // So that `/` is the app's, which leads to its page, and not the platform's.
  AzureWebJobsDisableHomepage: 'true'
}
var azureOpenAi = {
  AZURE_OPENAI_ENDPOINT: openAiEndpoint
  AZURE_OPENAI_DEPLOYMENT: openAiDeployment
}
var signIn = {
  OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID: identityClientId
}
var encryption = {
  DORMOUSE_ENCRYPTION_KEY: encryptionKeyId
}
var rowsApart = {
  DORMOUSE_TABLE_SERVICE_URI: rowStorage.properties.primaryEndpoints.table
}
var scheduler = {
  DURABLE_TASK_SCHEDULER_CONNECTION_STRING: 'Endpoint=${schedulerEndpoint};Authentication=ManagedIdentity;ClientID=${identityClientId}'
}
var ownDomain = {
  DORMOUSE_PUBLIC_BASE_URL: publicBaseUrl
}
var given = toObject(filter(items(appSettings), each => !empty(each.value)), each => each.key, each => each.value)

resource storage 'Microsoft.Storage/storageAccounts@2023-05-01' existing = {
  name: storageName
}

resource rowStorage 'Microsoft.Storage/storageAccounts@2023-05-01' existing = {
  name: empty(rowsName) ? storageName : rowsName
}

resource packages 'Microsoft.Storage/storageAccounts@2023-05-01' existing = {
  name: packagesName
}

resource plan 'Microsoft.Web/serverfarms@2024-04-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
  }
}

resource app 'Microsoft.Web/sites@2024-04-01' = {
  name: name
  location: location
  tags: tags
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    // Flex Consumption uses only an identity that the app has. The app's own code asks for tokens of the first one.
    userAssignedIdentities: {
      '${identityId}': {}
      '${deploymentIdentityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    // Settings may be references to secrets in a Key Vault. Without this they are read as an identity that the app has not.
    keyVaultReferenceIdentity: identityId
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${packages.properties.primaryEndpoints.blob}${deploymentContainer}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: deploymentIdentityId
          }
        }
      }
      runtime: {
        name: 'python'
        version: '3.12'
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
        alwaysReady: concat(
          alwaysReadyHttp > 0 ? [{ name: 'http', instanceCount: alwaysReadyHttp }] : [],
          alwaysReadyDurable > 0 ? [{ name: 'durable', instanceCount: alwaysReadyDurable }] : []
        )
        triggers: {
          http: { perInstanceConcurrency: httpConcurrency }
        }
      }
    }
    siteConfig: {
      cors: { allowedOrigins: empty(corsOrigins) ? [] : map(split(corsOrigins, ','), origin => trim(origin)) }
      // So that the six connections a browser opens to a host over HTTP/1.1 are no limit to the runs it watches.
      http20Enabled: true
      minTlsVersion: '1.2'
    }
  }
}

resource settings 'Microsoft.Web/sites/config@2024-04-01' = {
  parent: app
  name: 'appsettings'
  properties: union(
    always,
    profileSettings,
    empty(rowsName) ? {} : rowsApart,
    empty(schedulerEndpoint) ? {} : scheduler,
    empty(openAiEndpoint) ? {} : azureOpenAi,
    empty(publicBaseUrl) ? {} : ownDomain,
    empty(encryptionKeyId) ? {} : encryption,
    byAppService ? signIn : {},
    given
  )
}

// Packages are published with tokens of Entra, never with a publishing password.
resource ftp 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01' = {
  parent: app
  name: 'ftp'
  properties: { allow: false }
}

resource scm 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01' = {
  parent: app
  name: 'scm'
  properties: { allow: false }
}

@description('Name of the app.')
output name string = app.name

@description('Base of its URLs.')
output url string = 'https://${app.properties.defaultHostName}'
