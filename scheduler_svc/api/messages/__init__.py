"""What all services share: conversion of values, validation, pages, and errors as statuses."""
