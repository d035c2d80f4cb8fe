"""The pocket world: scenes with exact ground truth, and the recipe that trains the small models which ship with the
package.
"""
