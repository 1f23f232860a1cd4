// A virtual network for the app, and private names for the storage that it reaches there.

@description('Name of the network.')
param name string

@description('Region.')
param location string

@description('Tags.')
param tags object

@description('Addresses of the network; a /23 or larger.')
param addressPrefix string

@description('Services of storage accounts that get a private name.')
param services array

var endpointsSubnet = 'endpoints'
var appSubnet = 'app'

resource network 'Microsoft.Network/virtualNetworks@2024-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    addressSpace: { addressPrefixes: [addressPrefix] }
    subnets: [
      {
        name: endpointsSubnet
        properties: { addressPrefix: cidrSubnet(addressPrefix, 24, 0) }
      }
      {
        // Flex Consumption takes a subnet that is delegated so, and used by nothing else.
        name: appSubnet
        properties: {
          addressPrefix: cidrSubnet(addressPrefix, 24, 1)
          delegations: [
            {
              name: 'flex'
              properties: { serviceName: 'Microsoft.App/environments' }
            }
          ]
        }
      }
    ]
  }
}

resource zones 'Microsoft.Network/privateDnsZones@2020-06-01' = [for service in services: {
  name: 'privatelink.${service}.${environment().suffixes.storage}'
  location: 'global'
  tags: tags
}]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2020-06-01' = [for (service, index) in services: {
  parent: zones[index]
  name: '${name}-${service}'
  location: 'global'
  tags: tags
  properties: {
    registrationEnabled: false
    virtualNetwork: { id: network.id }
  }
}]

@description('Subnet for the app.')
output appSubnetId string = '${network.id}/subnets/${appSubnet}'

@description('Subnet for private endpoints.')
output endpointsSubnetId string = '${network.id}/subnets/${endpointsSubnet}'
