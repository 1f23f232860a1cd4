"""What goes to Azure: the locked dependencies, and the folder that is deployed."""
