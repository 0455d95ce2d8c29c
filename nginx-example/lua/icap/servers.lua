--- Ask the services of a list in order, until one answers: fail-over.

local lrucache = require "resty.lrucache"
local client = require "icap.client"
local Connection = require "icap.connection"
local options_of = require "icap.options"

local _M = {}

-- A service that could not be reached is asked last for so long, by this worker. Never left out: were it skipped, one
-- failure would let everything pass, or nothing, for as long. A service that only failed to answer a request keeps its
-- place: one body that no scanner gets through must not move all others.
local ASK_LAST_S = 10
local unreachable = assert(lrucache.new(200))

local function in_order(services)
    if not services[2] then
        return services
    end
    local first, last = {}, {}
    for _, service in ipairs(services) do
        local list = unreachable:get(service.name) and last or first
        list[#list + 1] = service
    end
    for _, service in ipairs(last) do
        first[#first + 1] = service
    end
    return first
end

--- A connection to the service, and its options.
local function open(service, settings, deadline, method)
    local connection, err = Connection.open(service, settings, deadline)
    if not connection then
        return nil, err
    end
    local options
    options, err = options_of.get(connection, service)
    if not options then
        connection:close()
        return nil, err, connection
    elseif not options.methods[method:lower()] then
        connection:close()
        return nil, "does not offer " .. method
    end
    if connection.must_close then
        connection:close()
        connection, err = Connection.open(service, settings, deadline)
        if not connection then
            return nil, err
        end
    end
    connection.has_heard = false
    return connection, options
end

local function try(service, settings, deadline, message)
    local connection, options, opened = open(service, settings, deadline, message.method)
    if not connection then
        -- A pooled connection that broke under OPTIONS says nothing of the server.
        if not (opened and opened.is_reused) then
            unreachable:set(service.name, true, ASK_LAST_S)
        end
        return nil, options, opened
    end
    local answer, err = client.ask(connection, service, message, options)
    if not answer then
        connection:close(true)
        return nil, err, connection
    end
    unreachable:delete(service.name)
    answer.service = service
    return answer
end

--- A kept connection that the server closed while we wrote: as if it had not been there.
local function was_stale(connection)
    return connection and connection.is_reused and not connection.has_heard and not connection.has_timed_out
end

--- @return the answer, or nil and whether it was the body's source that failed.
local function ask(settings, message)
    local deadline = ngx.now() + settings.timeouts.total
    local is_first = true
    for _, service in ipairs(in_order(settings.services)) do
        local answer, connection
        repeat
            if not is_first and not message:restart() then
                return nil
            end
            is_first = false
            local err
            answer, err, connection = try(service, settings, deadline, message)
            if answer then
                return answer
            end
            ngx.log(ngx.ERR, "icap: ", service.name, ": ", err)
            if connection and connection.source_err then
                return nil, true
            end
        until not was_stale(connection)
    end
    return nil
end

--- @param message as client.ask takes it, and `restart()`: make the body readable from its start once more, or false.
-- @return the answer, or nil; the seconds it took; without an answer, whether it was the body's source that failed.
function _M.ask(settings, message)
    local started_at = ngx.now()
    local answer, is_source = ask(settings, message)
    ngx.update_time()
    return answer, ngx.now() - started_at, is_source
end

return _M
