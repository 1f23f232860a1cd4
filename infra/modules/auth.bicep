// App Service authentication with Entra: who has neither a valid token nor a session gets 401 before the app is reached.
// A page sends its user to `/.auth/login/aad?post_login_redirect_uri=…`, and gets a session cookie.

@description('Name of the app.')
param appName string

@description('Client id of the app registration.')
param clientId string

@description('Tenant whose tokens are taken.')
param tenantId string

resource app 'Microsoft.Web/sites@2024-04-01' existing = {
  name: appName
}

resource authentication 'Microsoft.Web/sites/config@2024-04-01' = {
  parent: app
  name: 'authsettingsV2'
  properties: {
    platform: { enabled: true }
    globalValidation: {
      requireAuthentication: true
      unauthenticatedClientAction: 'Return401'
      // What is anonymous by design, and what checks something that the platform does not know: the provider's webhook
      // its signature, `/api/v1` its Bearer keys, `/api/shared` its run tokens, `/api/ops` the operator's key. The app answers for each of them; all
      // else it refuses once more.
      excludedPaths: [
        '/api/health'
        '/api/webhooks/openai'
        '/api/v1'
        '/api/v1/*'
        '/api/shared/*'
        '/api/ops/*'
        '/ui'
        '/ui/*' // a page of the app's own origin: it loads before anybody has signed in, and sends its user to do so
      ]
    }
    httpSettings: { requireHttps: true }
    identityProviders: {
      azureActiveDirectory: {
        enabled: true
        registration: {
          clientId: clientId
          // Not a secret: this app setting names a managed identity that the registration trusts (a federated credential).
          clientSecretSettingName: 'OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID'
          openIdIssuer: '${environment().authentication.loginEndpoint}${tenantId}/v2.0'
        }
        validation: {
          allowedAudiences: [
            clientId
            'api://${clientId}'
          ]
        }
      }
    }
    login: {
      // Where a page was, also behind `#`: a run's address may be there.
      preserveUrlFragmentsForLogins: true
      tokenStore: { enabled: false }
    }
  }
}
